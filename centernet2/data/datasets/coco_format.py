"""Registration of data sets in COCO's format that are read when first used."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json

from centernet2.data.datasets.checked import load_checked
from centernet2.data.datasets.keypoints import read_keypoint_metadata
from centernet2.errors import UserError

__all__ = ["datasets_root", "register_coco_format", "require_file"]


def datasets_root() -> str:
    """The folder of all data sets: ``$DETECTRON2_DATASETS``, else ``./datasets``."""
    return os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))


def register_coco_format(
    name: str,
    json_file: str,
    image_root: str,
    thing_classes: list[str] | None = None,
    prepare: Callable[[], object] | None = None,
) -> None:
    """Register a data set in COCO's format; a name that is registered already stays as it is.

    Args:
        name: to register.
        json_file: annotation file; read when the data set is first used, which sets
            ``thing_classes`` in the metadata, and what is known of keypoints.
        image_root: folder of the images.
        thing_classes: names by id, where they are known before the file is read.
        prepare: called before the file is read, to make it.
    """
    if name in DatasetCatalog:
        return

    def load() -> list[dict[str, Any]]:
        if prepare is not None:
            prepare()
        require_file(name, json_file)
        records = load_checked(name, json_file, lambda: load_coco_json(json_file, image_root, name))
        with_keypoints = any("keypoints" in a for r in records for a in r["annotations"])
        if with_keypoints and MetadataCatalog.get(name).get("keypoint_names") is None:
            MetadataCatalog.get(name).set(**read_keypoint_metadata(json_file))
        return records

    DatasetCatalog.register(name, load)
    metadata = MetadataCatalog.get(name)
    metadata.set(json_file=json_file, image_root=image_root, evaluator_type="coco")
    if thing_classes is not None:
        metadata.set(thing_classes=thing_classes)


def require_file(name: str, json_file: str) -> None:
    """Check that the annotations of a data set are there.

    Raises:
        UserError: they are not; the message says what to set.
    """
    if not os.path.isfile(json_file):
        raise UserError(
            f"the annotations of the data set {name!r} are not at {os.path.abspath(json_file)}: "
            "set DETECTRON2_DATASETS to the folder that holds your data sets (see "
            "datasets/README.md for its layout)"
        )
