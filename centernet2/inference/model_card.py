"""A loaded model in a few lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from centernet2.inference.predictor import TWO_STAGES, Predictor

__all__ = ["describe_model"]

_MOST_CLASSES = 20


def describe_model(predictor: Predictor) -> dict[str, str]:
    """Describe a model.

    Args:
        predictor: of the model.

    Returns:
        A name and a text of one line for each thing worth knowing.
    """
    cfg = predictor.cfg
    two_stages = cfg.MODEL.META_ARCHITECTURE in TWO_STAGES
    kind = f"two stages, {cfg.MODEL.ROI_HEADS.NAME}" if two_stages else "one stage"
    parameters = sum(parameter.numel() for parameter in predictor.model.parameters())
    return {
        "architecture": f"{cfg.MODEL.META_ARCHITECTURE} ({kind})",
        "backbone": cfg.MODEL.BACKBONE.NAME,
        "parameters": f"{parameters / 1e6:.1f} million",
        "finds": _findings(predictor),
        "classes": _listed(predictor.class_names),
        "input": f"{cfg.INPUT.FORMAT}, {_input_size(predictor)}",
        "detections an image": f"at most {cfg.TEST.DETECTIONS_PER_IMAGE}",
        "weights": cfg.MODEL.WEIGHTS,
    }


def _findings(predictor: Predictor) -> str:
    masks = "masks" if predictor.finds_masks else ""
    joints = "joints" if predictor.finds_joints else ""
    return " and ".join(filter(None, ["boxes", masks, joints]))


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - _MOST_CLASSES} more" if len(names) > _MOST_CLASSES else ""
    return f"{len(names)}: {', '.join(names[:_MOST_CLASSES])}{more}"


def _input_size(predictor: Predictor) -> str:
    size = predictor.cfg.INPUT
    if size.TEST_INPUT_TYPE == "square":
        return f"the longer side of {size.TEST_SIZE} pixels"
    if size.MIN_SIZE_TEST == 0:
        return "images of their own size"
    return (
        f"the shorter side of {size.MIN_SIZE_TEST} pixels, the longer at most {size.MAX_SIZE_TEST}"
    )
