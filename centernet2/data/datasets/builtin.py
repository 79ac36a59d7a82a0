"""The data sets that the configs of this project name."""

from __future__ import annotations

import os

from detectron2.data import MetadataCatalog

from centernet2.data.datasets.coco_format import datasets_root, register_coco_format
from centernet2.data.datasets.glyphs import register_glyphs
from centernet2.data.datasets.lvis_format import register_lvis_format
from centernet2.data.glyphs.variants import SPLITS, VARIANTS

__all__ = ["register_builtin"]

_IN_ONE_FOLDER = {
    "penn_fudan": ["person"],
    "bccd": ["RBC", "WBC", "Platelets"],
}


def register_builtin(root: str | None = None) -> None:
    """Register every data set of the project; repeating it changes nothing.

    Args:
        root: folder of all data sets; by default that of :func:`datasets_root`.
    """
    root = datasets_root() if root is None else root
    for config in VARIANTS:
        register_glyphs(config, root)
    for split in SPLITS:
        for name, classes in _IN_ONE_FOLDER.items():
            folder = os.path.join(root, name)
            register_coco_format(
                f"{name}_{split}",
                os.path.join(folder, f"{split}.json"),
                os.path.join(folder, "images"),
                classes,
            )
        _register_coco_mini(os.path.join(root, "coco_mini"), split)


def _register_coco_mini(folder: str, split: str) -> None:
    """A few images of COCO 2017, labelled in COCO's and in LVIS's way."""
    classes = MetadataCatalog.get("coco_2017_train").thing_classes
    annotations = os.path.join(folder, "annotations")
    register_coco_format(
        f"coco_mini_{split}",
        os.path.join(annotations, f"instances_{split}2017.json"),
        os.path.join(folder, f"{split}2017"),
        list(classes),
    )
    register_lvis_format(
        f"coco_mini_lvis_{split}",
        os.path.join(annotations, f"lvis_style_{split}.json"),
        folder,
        list(classes),
    )
