"""Registration of the glyph data sets, which are written to disk when first used."""

from __future__ import annotations

import json
import os

from detectron2.data import DatasetCatalog, MetadataCatalog

from centernet2.data.datasets.coco_format import register_coco_format
from centernet2.data.datasets.lvis_format import register_lvis_format
from centernet2.data.glyphs.catalog import category_names
from centernet2.data.glyphs.variants import SPLITS, GlyphConfig
from centernet2.data.glyphs.writer import CLASS_IMAGE_COUNT_FILE, ensure_written

__all__ = ["register_glyphs"]


def register_glyphs(config: GlyphConfig, root: str) -> None:
    """Register ``<name>_train`` and ``<name>_val``, written below ``root`` on first use.

    Both splits are written at once. The names of the categories are known from the start; how
    many images each has (``class_image_count``) is known once the data set is written.
    """
    folder = os.path.join(root, config.name)
    counts_file = os.path.join(folder, CLASS_IMAGE_COUNT_FILE)
    for split in SPLITS:
        name = f"{config.name}_{split}"
        if name in DatasetCatalog:
            continue
        json_file = os.path.join(folder, "annotations", f"{split}.json")
        classes = category_names(config.num_categories)
        if config.style == "lvis":
            register_lvis_format(name, json_file, folder, classes, lambda: _prepare(config, root))
            if os.path.isfile(counts_file):
                with open(counts_file, encoding="utf-8") as file:
                    MetadataCatalog.get(name).set(class_image_count=json.load(file))
        else:
            images = os.path.join(folder, split)
            register_coco_format(name, json_file, images, classes, lambda: _prepare(config, root))


def _prepare(config: GlyphConfig, root: str) -> None:
    ensure_written(config, root)
