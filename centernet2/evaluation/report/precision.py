"""Precision over recall, as the reference implementation computes it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO

from centernet2.evaluation.engine import evaluate_coco

__all__ = ["COCO_IOUS", "FALSE_DISCOVERY_IOUS", "false_discovery", "mean_valid", "precisions"]

Array = npt.NDArray[np.float64]

COCO_IOUS = np.linspace(0.5, 0.95, 10)
FALSE_DISCOVERY_IOUS = np.linspace(0.05, 0.5, 10)


def precisions(
    truth: COCO, found: Sequence[dict[str, Any]], ious: Array, task: str = "bbox"
) -> tuple[Array, Array]:
    """Precision and recall of at most 100 detections an image.

    Args:
        truth: ground truth.
        found: detections in COCO's format.
        ious: ``(T,)`` thresholds of intersection over union.
        task: "bbox" or "segm".

    Returns:
        Precision ``(T, 101, K, 4)`` at recalls 0, 0.01, ... 1, for K categories by rising id and
        objects of all sizes, small, medium, large; and recall ``(T, K, 4)``. Both are -1 where
        there is no ground truth.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = evaluate_coco(truth.dataset, found, task, ious=ious, max_dets=[100])
    return evaluation.eval["precision"][..., 0], evaluation.eval["recall"][..., 0]


def mean_valid(values: Array) -> float:
    """Mean of the entries that are not -1, in percent; NaN if there are none."""
    valid = values[values > -1]
    return 100 * float(valid.mean()) if valid.size else float("nan")


def false_discovery(precision: Array) -> dict[str, float]:
    """False discovery rates, FD = 1 - AP, in percent.

    Args:
        precision: ``(10, 101, K, 4)`` of :func:`precisions` at ``FALSE_DISCOVERY_IOUS``.
    """
    parts = {
        "FD": precision[..., 0],
        "FD5": precision[0, ..., 0],
        "FD25": precision[4, ..., 0],
        "FD50": precision[9, ..., 0],
        "FDs": precision[..., 1],
        "FDm": precision[..., 2],
        "FDl": precision[..., 3],
    }
    return {name: 100 - mean_valid(values) for name, values in parts.items()}
