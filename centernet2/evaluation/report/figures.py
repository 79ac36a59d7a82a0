"""All figures of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from centernet2.evaluation.report.costs import error_costs
from centernet2.evaluation.report.files import Detections
from centernet2.evaluation.report.matching import Matches, match
from centernet2.evaluation.report.precision import (
    AREAS,
    COCO_IOUS,
    FALSE_DISCOVERY_IOUS,
    false_discovery,
    mean_valid,
    precisions,
)

__all__ = ["FREQUENCIES", "TaskFigures", "class_rows", "measure"]

Array = npt.NDArray[np.float64]

# Bounds of the size bins: sides of objects, the square root of the area, in pixels
_SIDES = (0, 8, 16, 32, 64, 128, 256, 512, 1e5)
FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}


@dataclass
class TaskFigures:
    """Figures of boxes or of masks.

    Attributes:
        precision: ``(10, 101, K)`` at COCO's IoUs, for objects of all sizes, -1 where undefined.
        recall: ``(10, K)``.
        headline: COCO's figures (LVIS's too) in percent, NaN where undefined.
        false_discovery: see :func:`centernet2.evaluation.report.precision.false_discovery`.
        matches: at IoU 0.5.
        errors: for each kind of error "all" and "confident", their number, and "dAP".
        sizes: for each bin of object sizes its bounds, "objects", "AP", "AP50" and "AR".
    """

    precision: Array
    recall: Array
    headline: dict[str, float]
    false_discovery: dict[str, float]
    matches: Matches
    errors: dict[str, dict[str, float]]
    sizes: list[dict[str, float]]


def measure(data: Detections, task: str, threshold: float) -> TaskFigures:
    """Measure detections.

    Args:
        data: from :func:`centernet2.evaluation.report.files.load_files`.
        task: "bbox" or "segm".
        threshold: score from which on detections are "confident".
    """
    bins = list(zip(_SIDES[:-1], _SIDES[1:]))
    # COCO's ranges have both ends; these have the lower one only, so that no object counts twice
    ranges = {f"{a:g}": (a**2, float(np.nextafter(b**2, 0))) for a, b in bins}
    precision, recall = precisions(data, COCO_IOUS, task, {**AREAS, **ranges})
    matches = match(data, task)
    counts = [matches.errors(-np.inf), matches.errors(threshold)]
    costs = error_costs(matches, len(data.categories))
    return TaskFigures(
        precision=precision[..., 0],
        recall=recall[..., 0],
        headline=_headline(data, precision, recall),
        false_discovery=false_discovery(precisions(data, FALSE_DISCOVERY_IOUS, task)[0]),
        matches=matches,
        errors={
            kind: {"all": counts[0][kind], "confident": counts[1][kind], "dAP": costs[kind]}
            for kind in counts[0]
        },
        sizes=_sizes(data, bins, precision[..., len(AREAS) :], recall[..., len(AREAS) :]),
    )


def class_rows(
    data: Detections, tasks: dict[str, TaskFigures], threshold: float
) -> list[dict[str, Any]]:
    """A row of figures for each class: AP in percent, and the number of confident errors."""
    objects = Counter(o["category_id"] for o in data.truth["annotations"] if not o["iscrowd"])
    errors = {
        kind: np.bincount(labels, minlength=len(data.categories)).tolist()
        for kind, labels in tasks["box"].matches.labels_of_errors(threshold).items()
    }
    rows = []
    for k, category in enumerate(data.categories):
        row: dict[str, Any] = {"name": category["name"]}
        if data.federated:
            row["frequency"] = FREQUENCIES[category["frequency"]]
        row["objects"] = objects[category["id"]]
        for task, figures in tasks.items():
            prefix = "" if task == "box" else f"{task} "
            row[f"{prefix}AP"] = mean_valid(figures.precision[:, :, k])
            row[f"{prefix}AP50"] = mean_valid(figures.precision[0, :, k])
            row[f"{prefix}AR"] = mean_valid(figures.recall[:, k])
        row.update({kind: counts[k] for kind, counts in errors.items()})
        rows.append(row)
    return rows


def _headline(data: Detections, precision: Array, recall: Array) -> dict[str, float]:
    figures = {
        "AP": mean_valid(precision[..., 0]),
        "AP50": mean_valid(precision[0, ..., 0]),
        "AP75": mean_valid(precision[5, ..., 0]),
        "APs": mean_valid(precision[..., 1]),
        "APm": mean_valid(precision[..., 2]),
        "APl": mean_valid(precision[..., 3]),
    }
    if data.federated:
        for letter in FREQUENCIES:
            chosen = [c["frequency"] == letter for c in data.categories]
            figures[f"AP{letter}"] = mean_valid(precision[:, :, chosen, 0])
    limit = 300 if data.federated else 100
    for i, name in enumerate((f"AR{limit}", "ARs", "ARm", "ARl")):
        figures[name] = mean_valid(recall[..., i])
    return figures


def _sizes(
    data: Detections, bins: Sequence[tuple[float, float]], precision: Array, recall: Array
) -> list[dict[str, float]]:
    areas = np.array([o["area"] for o in data.truth["annotations"] if not o["iscrowd"]], float)
    rows = []
    for i, (least, most) in enumerate(bins):
        rows.append(
            {
                "from": least,
                "to": most if most < _SIDES[-1] else float("nan"),
                "objects": int(((areas >= least**2) & (areas < most**2)).sum()),
                "AP": mean_valid(precision[..., i]),
                "AP50": mean_valid(precision[0, ..., i]),
                "AR": mean_valid(recall[..., i]),
            }
        )
    return rows
