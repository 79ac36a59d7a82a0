"""From files to the report: a page, JSON, CSV, and a table for the terminal."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from centernet2.evaluation.report import page, plots
from centernet2.evaluation.report.calibration import calibrate
from centernet2.evaluation.report.files import load_files
from centernet2.evaluation.report.matching import HIT, IGNORED, match
from centernet2.evaluation.report.precision import (
    COCO_IOUS,
    FALSE_DISCOVERY_IOUS,
    false_discovery,
    mean_valid,
    precisions,
)

__all__ = ["write_report"]


def write_report(
    results: Path,
    annotations: Path,
    output: Path,
    *,
    score_threshold: float = 0.3,
    weights: str = "",
) -> dict[str, Any]:
    """Write ``report.html``, ``report.json`` and ``per_class.csv``.

    Args:
        results: COCO results file of boxes, with masks or without.
        annotations: COCO annotation file.
        output: folder, made if need be.
        score_threshold: lowest score that counts in the confusion matrix and the second column of
            the errors.
        weights: named on the page.

    Returns:
        What ``report.json`` holds; a figure that is not defined is None.

    Raises:
        UserError: see :func:`centernet2.evaluation.report.files.load_files`.
    """
    data = load_files(results, annotations)
    names = data.names
    objects = [o for o in data.truth["annotations"] if not o["iscrowd"]]

    curves, recall = precisions(data, COCO_IOUS)
    headline = {"box": _headline(curves, recall)}
    if data.masks:
        headline["mask"] = _headline(*precisions(data, COCO_IOUS, "segm"))
    rates = false_discovery(precisions(data, FALSE_DISCOVERY_IOUS)[0])
    matches = match(data)
    counted = matches.kind != IGNORED
    calibration = calibrate(matches.score[counted], matches.kind[counted] == HIT)

    objects_of = Counter(o["category_id"] for o in objects)
    per_class = [
        {
            "name": category["name"],
            "objects": objects_of[category["id"]],
            "AP": mean_valid(curves[:, :, k, 0]),
            "AP50": mean_valid(curves[0, :, k, 0]),
            "AR100": mean_valid(recall[:, k, 0]),
        }
        for k, category in enumerate(data.categories)
    ]
    every, confident = matches.errors(), matches.errors(score_threshold)
    errors = {kind: [every[kind], confident[kind]] for kind in every}
    confusion = matches.confusion(len(names), score_threshold)
    counts = {
        "images": len(data.truth["images"]),
        "objects": len(objects),
        "detections": len(data.found),
    }
    report = {
        **counts,
        "weights": weights,
        "metrics": headline,
        "false_discovery": rates,
        "calibration_error": calibration.error,
        "score_threshold": score_threshold,
        "errors": {k: {"all": a, "above_threshold": b} for k, (a, b) in errors.items()},
        "per_class": per_class,
    }

    columns = list(headline["box"])
    rows = [[task, *values.values()] for task, values in headline.items()]
    sections = {
        "Data": [
            page.table(list(counts), [list(counts.values())]),
            f'<p class="note">{escape(str(annotations))}<br/>{escape(weights)}</p>',
        ],
        "Average precision, %": [page.table(["", *columns], rows)],
        "False discovery rate, 1 - AP at IoU 0.05 to 0.50, %": [
            page.table(list(rates), [list(rates.values())])
        ],
        "Precision over recall, mean of classes": [
            page.figure(
                plots.plot_precision(curves[..., 0], COCO_IOUS.tolist()), "precision over recall"
            )
        ],
        f"Errors at IoU 0.5: all detections, and those of score {score_threshold:g} and more": [
            page.table(["kind", "all", "confident"], [[k, *v] for k, v in errors.items()])
        ],
        f"Confusion at IoU 0.5 and score {score_threshold:g}, % of the row": [
            '<div class="wide">'
            + page.figure(plots.plot_confusion(confusion, names), "confusion matrix")
            + "</div>"
        ],
        f"Calibration: expected error {page.text(100 * calibration.error)} %": [
            page.figure(plots.plot_calibration(calibration), "reliability diagram")
        ],
        "Classes": [
            page.table(list(per_class[0]), [list(c.values()) for c in per_class], sortable=True)
            if per_class
            else "<p>None.</p>"
        ],
    }
    output.mkdir(parents=True, exist_ok=True)
    html = page.page(f"Evaluation of {results.name}", sections)
    (output / "report.html").write_text(html, encoding="utf-8")
    defined = _defined(report)
    (output / "report.json").write_text(json.dumps(defined, indent=2), encoding="utf-8")
    with open(output / "per_class.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["name", "objects", "AP", "AP50", "AR100"])
        writer.writeheader()
        writer.writerows(defined["per_class"])
    _print(columns, rows)
    return defined


def _headline(curves: Any, recall: Any) -> dict[str, float]:
    half, strict = int(np.argmin(abs(COCO_IOUS - 0.5))), int(np.argmin(abs(COCO_IOUS - 0.75)))
    return {
        "AP": mean_valid(curves[..., 0]),
        "AP50": mean_valid(curves[half, ..., 0]),
        "AP75": mean_valid(curves[strict, ..., 0]),
        "APs": mean_valid(curves[..., 1]),
        "APm": mean_valid(curves[..., 2]),
        "APl": mean_valid(curves[..., 3]),
        "AR100": mean_valid(recall[..., 0]),
        "ARs": mean_valid(recall[..., 1]),
        "ARm": mean_valid(recall[..., 2]),
        "ARl": mean_valid(recall[..., 3]),
    }


def _defined(value: Any) -> Any:
    """The same with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {k: _defined(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_defined(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _print(columns: list[str], rows: list[list[Any]]) -> None:
    table = Table("", *columns)
    for row in rows:
        table.add_row(*(page.text(cell) for cell in row))
    Console().print(table)
