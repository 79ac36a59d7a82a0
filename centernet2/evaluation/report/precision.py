"""Precision over recall, as the reference implementation computes it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from centernet2.evaluation.engine import evaluate_coco, evaluate_lvis
from centernet2.evaluation.report.files import Detections

__all__ = ["COCO_IOUS", "FALSE_DISCOVERY_IOUS", "false_discovery", "mean_valid", "precisions"]

Array = npt.NDArray[np.float64]

COCO_IOUS = np.linspace(0.5, 0.95, 10)
FALSE_DISCOVERY_IOUS = np.linspace(0.05, 0.5, 10)
AREAS = {"all": (0, 1e10), "small": (0, 1024), "medium": (1024, 9216), "large": (9216, 1e10)}


def precisions(
    data: Detections, ious: Array, task: str = "bbox", areas: Mapping[str, Sequence[float]] = AREAS
) -> tuple[Array, Array]:
    """Precision and recall of at most 100 detections of a class in an image (LVIS: 300 in all).

    Args:
        data: from :func:`centernet2.evaluation.report.files.load_files`.
        ious: ``(T,)`` thresholds of intersection over union.
        task: "bbox" or "segm".
        areas: A ranges ``[least, most]`` of objects' areas in square pixels.

    Returns:
        Precision ``(T, 101, K, A)`` at recalls 0, 0.01, ... 1, for K categories by rising id; and
        recall ``(T, K, A)``. Both are -1 where there is no ground truth.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        if data.federated and data.found:
            result = evaluate_lvis(data.truth, data.found, task, ious=ious, areas=areas).eval
            return result["precision"], result["recall"]
        result = evaluate_coco(
            data.truth, data.found, task, ious=ious, max_dets=[100], areas=areas
        ).eval
    return result["precision"][..., 0], result["recall"][..., 0]


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
