"""Test-time augmentation as a config asks for it with TEST.AUG."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling.meta_arch import GeneralizedRCNN, PanopticFPN, RetinaNet
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from centernet2.data.views import view_resizes, whole_image_config
from centernet2.errors import UserError
from centernet2.modeling.centernet.detector import CenterNetDetector
from centernet2.modeling.points import ObjectsAsPoints
from centernet2.modeling.test_time_augmentation import TestTimeAugmentation
from centernet2.modeling.triplets import CenterNetTriplets

__all__ = [
    "augmented_config",
    "augmented_out_of_memory",
    "augmented_results",
    "build_augmented",
    "plain_config",
]


def build_augmented(cfg: CfgNode, model: nn.Module) -> TestTimeAugmentation:
    """Wrap a model so that it looks at the views of TEST.AUG.

    Boxes of all views are merged at the model's own threshold: MODEL.ROI_HEADS.NMS_THRESH_TEST,
    MODEL.RETINANET.NMS_THRESH_TEST, MODEL.TRIPLETS.NMS_IOU, MODEL.POINTS.NMS_IOU or
    MODEL.CENTERNET.NMS_TH_TEST. The last applies with MODEL.CENTERNET.NOT_NMS and CENTER_NMS too,
    for every view finds the same objects anew. TEST.DETECTIONS_PER_IMAGE stay.

    Args:
        cfg: the model's; TEST.AUG.ENABLED is not read.
        model: shares its weights with the result.

    Raises:
        UserError: for a model or sizes that cannot be used so.
    """
    if isinstance(model, DistributedDataParallel):
        model = model.module
    aug = cfg.TEST.AUG
    if aug.VIEWS_PER_BATCH < 1:
        raise UserError(f"TEST.AUG.VIEWS_PER_BATCH is {aug.VIEWS_PER_BATCH}; set it to 1 or more.")
    return TestTimeAugmentation(
        model,
        view_resizes(cfg),
        mirror=aug.FLIP,
        nms_thresh=_nms_threshold(cfg, model),
        max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
        views_per_batch=aug.VIEWS_PER_BATCH,
    )


def _nms_threshold(cfg: CfgNode, model: nn.Module) -> float:
    for key in ("KEYPOINT_ON", "LOAD_PROPOSALS"):
        if cfg.MODEL[key]:
            raise UserError(
                f"TEST.AUG.ENABLED does not go with MODEL.{key}: set one of the two to False."
            )
    if isinstance(model, CenterNetDetector):
        return float(cfg.MODEL.CENTERNET.NMS_TH_TEST)
    if isinstance(model, CenterNetTriplets):
        return float(cfg.MODEL.TRIPLETS.NMS_IOU)
    if isinstance(model, ObjectsAsPoints):
        return float(cfg.MODEL.POINTS.NMS_IOU)
    if isinstance(model, RetinaNet):
        return float(cfg.MODEL.RETINANET.NMS_THRESH_TEST)
    if isinstance(model, GeneralizedRCNN) and not isinstance(model, PanopticFPN):
        return float(cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST)
    raise UserError(
        "TEST.AUG.ENABLED works for GeneralizedRCNN, CenterNetDetector, CenterNetTriplets, "
        "CornerNet, ObjectsAsPoints and RetinaNet, not for "
        f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE}: set it to False."
    )


def augmented_config(cfg: CfgNode) -> CfgNode:
    """The config for loader and evaluator: whole images, files under ``OUTPUT_DIR/TTA``."""
    cfg = whole_image_config(cfg)
    cfg.OUTPUT_DIR = os.path.join(cfg.OUTPUT_DIR, "TTA")
    return cfg


def plain_config(cfg: CfgNode) -> CfgNode:
    """A copy with TEST.AUG.ENABLED off."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.TEST.AUG.ENABLED = False
    return cfg


def augmented_results(results: Mapping[str, Any] | None) -> dict[str, Any]:
    """Results under the names that Detectron2's users know: "bbox" becomes "bbox_TTA"."""
    return {f"{task}_TTA": metrics for task, metrics in (results or {}).items()}


def augmented_out_of_memory(cfg: CfgNode) -> str:
    """Say which keys make augmented evaluation smaller."""
    aug = cfg.TEST.AUG
    return (
        f"Out of memory while evaluating with TEST.AUG on {cfg.MODEL.DEVICE}: turn down "
        f"TEST.AUG.VIEWS_PER_BATCH (now {aug.VIEWS_PER_BATCH}) or the largest of "
        f"TEST.AUG.MIN_SIZES (now {max(aug.MIN_SIZES)})."
    )
