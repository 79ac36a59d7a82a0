"""The user's own data sets, "custom_train" and "custom_val", as a config describes them."""

from __future__ import annotations

import functools
import os

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from centernet2.data.datasets.coco_format import register_coco_format
from centernet2.errors import UserError

__all__ = ["CUSTOM_TRAIN", "CUSTOM_VAL", "register_custom", "require_files"]

CUSTOM_TRAIN = "custom_train"
CUSTOM_VAL = "custom_val"


def register_custom(cfg: CfgNode) -> None:
    """Register the data sets of DATASETS.CUSTOM in place of those of an earlier config.

    No file is read: class names and ids come from the config if it has them, so that a trained
    model can be used where its data is not.
    """
    custom = cfg.DATASETS.CUSTOM
    for name, json_file, images in (
        (CUSTOM_TRAIN, custom.TRAIN_JSON, custom.TRAIN_IMAGES),
        (CUSTOM_VAL, custom.VAL_JSON, custom.VAL_IMAGES),
    ):
        _forget(name)
        if not json_file:
            continue
        check = functools.partial(require_files, json_file, images)
        register_coco_format(name, json_file, images, list(custom.CLASSES) or None, check)
        if custom.CLASS_IDS:
            ids = {number: place for place, number in enumerate(custom.CLASS_IDS)}
            MetadataCatalog.get(name).set(thing_dataset_id_to_contiguous_id=ids)


def require_files(json_file: str, image_root: str) -> None:
    """Check that the annotations and the image folder of a custom data set are there.

    Raises:
        UserError: naming the one that is not.
    """
    if not os.path.isfile(json_file):
        raise UserError(
            f"There is no annotation file {json_file}; give the place of a JSON file in COCO's "
            "format (--data or --val, which take the folder of a data set too, or DATASETS.CUSTOM "
            "in the config)."
        )
    if not os.path.isdir(image_root):
        raise UserError(
            f"There is no image folder {image_root} for {json_file}; give the folder that its "
            "file names are relative to (--data or --val, or DATASETS.CUSTOM in the config)."
        )


def _forget(name: str) -> None:
    # Removed rather than changed: a model that is in use keeps the metadata it was built with.
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
    MetadataCatalog.pop(name, None)
