"""From files to the report: a page, JSON, CSV, and a table for the terminal."""

from __future__ import annotations

import csv
import datetime
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import detectron2
import torch
from rich.console import Console
from rich.table import Table

from centernet2.evaluation.report import page
from centernet2.evaluation.report.calibration import calibrate
from centernet2.evaluation.report.figures import TaskFigures, class_rows, measure
from centernet2.evaluation.report.files import Detections, load_files
from centernet2.evaluation.report.pictures import Draw, DrawnImage, draw_images
from centernet2.evaluation.report.ranking import best_and_worst, score_images
from centernet2.evaluation.report.recall import recall_section
from centernet2.evaluation.report.sections import data_section, figure_sections, image_section
from centernet2.version import __version__

__all__ = ["write_report"]

_DRAWN = 6  # of the best images, and of the worst


def write_report(
    results: Path,
    annotations: Path,
    output: Path,
    *,
    score_threshold: float = 0.3,
    about: Mapping[str, str] | None = None,
    images: Path | None = None,
    draw: Draw | None = None,
    recall: Path | None = None,
) -> dict[str, Any]:
    """Write ``report.html``, ``report.json``, ``metrics.csv`` and ``per_class.csv``.

    Args:
        results: COCO results file of boxes, with masks or without.
        annotations: COCO or LVIS annotation file.
        output: folder, made if need be.
        score_threshold: lowest score that counts in the confusion matrix, the scores of images and
            wherever errors are called confident.
        about: facts that the page names, such as the weights.
        images: folder that the annotations' file names are relative to.
        draw: draws the best and the worst images; None: neither is shown.
        recall: of proposals, as ``tools/proposal_recall.py --json`` writes it; None: not shown.

    Returns:
        What ``report.json`` holds; a figure that is not defined is None.

    Raises:
        UserError: see :func:`centernet2.evaluation.report.files.load_files` and
            :func:`centernet2.evaluation.report.recall.recall_section`.
    """
    proposals = recall_section(recall) if recall else {}
    data = load_files(results, annotations)
    tasks = {"box": measure(data, "bbox", score_threshold)}
    if data.masks:
        tasks["mask"] = measure(data, "segm", score_threshold)
    rows = class_rows(data, tasks, score_threshold)
    counts = {
        "images": len(data.truth["images"]),
        "objects": len(tasks["box"].matches.object_label),
        "detections": len(data.found),
    }
    facts = {"results": str(results), "annotations": str(annotations), **(about or {})}
    facts.update(_circumstances())
    drawn, problems = _drawn(data, tasks["box"], score_threshold, images, draw)

    sections = {
        **data_section(counts, facts),
        **figure_sections(data, tasks, rows, score_threshold),
        **proposals,
        **image_section(drawn, problems, score_threshold),
    }
    report = _defined(
        {
            **counts,
            "about": facts,
            "metrics": {task: f.headline for task, f in tasks.items()},
            "false_discovery": {task: f.false_discovery for task, f in tasks.items()},
            "score_threshold": score_threshold,
            "errors": {task: f.errors for task, f in tasks.items()},
            "sizes": {task: f.sizes for task, f in tasks.items()},
            "calibration_error": calibrate(*tasks["box"].matches.correctness()).error,
            "per_class": rows,
            "image_scores": {
                heading: [{"file_name": i.file_name, **asdict(i.score)} for i in chosen]
                for heading, chosen in drawn.items()
            },
        }
    )
    output.mkdir(parents=True, exist_ok=True)
    html = page.page(f"Evaluation of {results.name}", sections)
    (output / "report.html").write_text(html, encoding="utf-8")
    (output / "report.json").write_text(json.dumps(report, indent=2), encoding="utf-8")
    _write_csv(output / "per_class.csv", list(rows[0]) if rows else ["name"], report["per_class"])
    _write_csv(output / "metrics.csv", ["task", "group", "metric", "value"], _metrics(report))
    _print(report)
    return report


def _circumstances() -> dict[str, str]:
    versions = {
        "CenterNet2": __version__,
        "PyTorch": torch.__version__,
        "Detectron2": detectron2.__version__,
    }
    for name in ("hotcoco", "pycocotools"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "date": now.strftime("%Y-%m-%d %H:%M UTC"),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _drawn(
    data: Detections, boxes: TaskFigures, threshold: float, folder: Path | None, draw: Draw | None
) -> tuple[dict[str, list[DrawnImage]], list[str]]:
    if folder is None or draw is None:
        return {}, []
    best, worst = best_and_worst(score_images(boxes.matches, threshold))
    options: dict[str, Any] = {"threshold": threshold, "count": _DRAWN}
    low, problems = draw_images(data, boxes.matches, worst, folder, draw, **options)
    if problems and not low:
        return {}, problems  # most likely another folder
    shown = [image.score.image_id for image in low]
    high, more = draw_images(data, boxes.matches, best, folder, draw, **options, without=shown)
    return {"Worst": low, "Best": high}, list(dict.fromkeys(problems + more))


def _metrics(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every figure of a whole task as a row."""
    for task, metrics in report["metrics"].items():
        groups = {"average precision": metrics, "false discovery": report["false_discovery"][task]}
        for kind, values in report["errors"][task].items():
            groups[f"errors: {kind}"] = values
        for row in report["sizes"][task]:
            end = "" if row["to"] is None else f"{row['to']:g}"
            groups[f"side {row['from']:g}-{end}"] = {k: row[k] for k in list(row)[2:]}
        for group, values in groups.items():
            for metric, value in values.items():
                yield {"task": task, "group": group, "metric": metric, "value": value}


def _defined(value: Any) -> Any:
    """The same with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {k: _defined(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_defined(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _write_csv(path: Path, columns: Sequence[str], rows: Any) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _print(report: Mapping[str, Any]) -> None:
    tasks = list(report["metrics"])
    table = Table("%", *tasks)
    for figures in (report["metrics"], report["false_discovery"]):
        for metric in figures[tasks[0]]:
            values = [figures[task][metric] for task in tasks]
            table.add_row(metric, *("–" if v is None else page.text(v) for v in values))
        table.add_section()
    Console().print(table)
