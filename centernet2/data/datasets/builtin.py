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

# Of the published recipes: name, annotations, images. Class names come from the user's files, which
# Detectron2 would refuse where they differ from names given here.
_OF_PUBLISHED_RECIPES = (
    *(
        (
            f"objects365_{split}",
            f"objects365/annotations/objects365_{split}.json",
            f"objects365/{split}",
        )
        for split in ("train", "val")
    ),
    *(
        (
            f"nuimages_{split}",
            f"nuimages/annotations/nuimages_v1.0-{split}.json",
            "nuimages",
        )
        for split in ("train", "val", "mini")
    ),
    (
        "coco_un_yolov4_55_0.5",
        "coco/annotations/yolov4_cocounlabeled_55_ann0.5.json",
        "coco/unlabeled2017",
    ),
    (
        "coco_2017_unlabeled",
        "coco/annotations/image_info_unlabeled2017.json",
        "coco/unlabeled2017",
    ),
)


def register_builtin(root: str | None = None) -> None:
    """Register every data set of the project; repeating it changes nothing.

    Args:
        root: folder of all data sets; by default that of :func:`datasets_root`.
    """
    root = datasets_root() if root is None else root
    for name, json_file, images in _OF_PUBLISHED_RECIPES:
        register_coco_format(name, os.path.join(root, json_file), os.path.join(root, images))
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
    """A few images of COCO 2017, labelled in COCO's and in LVIS's way, and people's joints."""
    classes = MetadataCatalog.get("coco_2017_train").thing_classes
    annotations = os.path.join(folder, "annotations")
    register_coco_format(
        f"coco_mini_{split}",
        os.path.join(annotations, f"instances_{split}2017.json"),
        os.path.join(folder, f"{split}2017"),
        list(classes),
    )
    name = f"coco_mini_keypoints_{split}"
    register_coco_format(
        name,
        os.path.join(annotations, f"person_keypoints_{split}2017.json"),
        os.path.join(folder, f"{split}2017"),
        ["person"],
    )
    people = MetadataCatalog.get("keypoints_coco_2017_train")
    keys = ("keypoint_names", "keypoint_flip_map", "keypoint_connection_rules")
    MetadataCatalog.get(name).set(**{key: people.get(key) for key in keys})
    register_lvis_format(
        f"coco_mini_lvis_{split}",
        os.path.join(annotations, f"lvis_style_{split}.json"),
        folder,
        list(classes),
    )
