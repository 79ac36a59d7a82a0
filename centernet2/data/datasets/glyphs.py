"""Registration of the glyph data sets, which are written to disk when first used."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

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
    classes = category_names(config.num_categories)
    for split in SPLITS:
        name = f"{config.name}_{split}"
        if name in DatasetCatalog:
            continue
        prepare = functools.partial(_prepare, config, root, name)
        json_file = os.path.join(folder, "annotations", f"{split}.json")
        if config.style == "lvis":
            register_lvis_format(name, json_file, folder, list(classes), prepare)
        else:
            images = os.path.join(folder, split)
            register_coco_format(name, json_file, images, list(classes), prepare)
        _set_class_image_count(name, folder)


def _prepare(config: GlyphConfig, root: str, name: str) -> None:
    _set_class_image_count(name, ensure_written(config, root))


def _set_class_image_count(name: str, folder: str | Path) -> None:
    """Tell how many training images each category has, if they are there."""
    path = Path(folder, CLASS_IMAGE_COUNT_FILE)
    if path.is_file():
        counts = json.loads(path.read_text(encoding="utf-8"))
        MetadataCatalog.get(name).set(class_image_count=counts)
