"""Checks that turn an opaque failure hours later into a sentence at the start."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from centernet2.engine.training_set import check_datasets
from centernet2.errors import UserError

__all__ = [
    "check_num_classes",
    "check_test_sets",
    "class_counts",
    "num_classes",
    "set_num_classes",
]

_ONE_STAGE_KEYS = {
    "RetinaNet": "MODEL.RETINANET.NUM_CLASSES",
    "CenterNetDetector": "MODEL.CENTERNET.NUM_CLASSES",
    "CenterNetTriplets": "MODEL.TRIPLETS.NUM_CLASSES",
    "CornerNet": "MODEL.TRIPLETS.NUM_CLASSES",
    "ObjectsAsPoints": "MODEL.POINTS.NUM_CLASSES",
    "MobileCenterNet": "MODEL.MOBILE_CENTERNET.NUM_CLASSES",
}


def check_num_classes(cfg: CfgNode, dataset: str) -> None:
    """Compare the model's number of classes with the data set's.

    Call it when the data set has been loaded: many learn their class names only then.

    Raises:
        UserError: naming both numbers and the key.
    """
    names = MetadataCatalog.get(dataset).get("thing_classes")
    if names is None:
        return
    for key, number in class_counts(cfg).items():
        if number != len(names):
            raise UserError(
                f"{key} is {number}, but data set '{dataset}' has {len(names)} classes "
                f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}): "
                f"set {key} {len(names)}."
            )


def class_counts(cfg: CfgNode) -> dict[str, int]:
    """Number of classes of the model, by each key that it reads it from."""
    counts = {}
    for key in _class_keys(cfg):
        node, name = _node_of(cfg, key)
        counts[key] = node[name]
    return counts


def num_classes(cfg: CfgNode) -> int:
    """Number of classes of what the model finds.

    Architectures whose keys are not known here count as having RoI heads.
    """
    return int(next(iter(class_counts(cfg).values()), cfg.MODEL.ROI_HEADS.NUM_CLASSES))


def set_num_classes(cfg: CfgNode, number: int) -> None:
    """Set each key of :func:`class_counts`, in place."""
    for key in _class_keys(cfg):
        node, name = _node_of(cfg, key)
        node[name] = number


def _class_keys(cfg: CfgNode) -> list[str]:
    architecture = cfg.MODEL.META_ARCHITECTURE
    if architecture in _ONE_STAGE_KEYS:
        return [_ONE_STAGE_KEYS[architecture]]
    if architecture != "GeneralizedRCNN":
        return []
    keys = ["MODEL.ROI_HEADS.NUM_CLASSES"]
    # Its per-class heatmaps are trained too, unless there is only the agnostic one.
    agnostic = cfg.MODEL.get("CENTERNET", {}).get("ONLY_PROPOSAL", True)
    if cfg.MODEL.PROPOSAL_GENERATOR.NAME == "CenterNet" and not agnostic:
        keys.append("MODEL.CENTERNET.NUM_CLASSES")
    if cfg.MODEL.MASK_ON and cfg.MODEL.ROI_MASK_HEAD.get("POINT_HEAD_ON", False):
        keys.append("MODEL.POINT_HEAD.NUM_CLASSES")
    return keys


def _node_of(cfg: CfgNode, key: str) -> tuple[CfgNode, str]:
    *groups, name = key.split(".")
    for group in groups:
        cfg = cfg[group]
    return cfg, name


def check_test_sets(cfg: CfgNode) -> None:
    """Load the data sets of DATASETS.TEST once and check them, before hours are spent.

    Raises:
        UserError: if one is unknown, absent, or has another number of classes than the model.
    """
    check_datasets(cfg.DATASETS.TEST, "DATASETS.TEST")
    for name in cfg.DATASETS.TEST:
        try:
            DatasetCatalog.get(name)
        except FileNotFoundError as error:
            raise UserError(
                f"Data set '{name}' of DATASETS.TEST: no file {error.filename}; put it there, or "
                "set the environment variable DETECTRON2_DATASETS to the folder of your data sets."
            ) from error
        check_num_classes(cfg, name)
