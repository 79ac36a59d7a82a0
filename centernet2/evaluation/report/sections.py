"""The sections of the page, from figures to HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from centernet2.evaluation.report import class_plots, page, plots
from centernet2.evaluation.report.calibration import calibrate
from centernet2.evaluation.report.figures import TaskFigures
from centernet2.evaluation.report.files import Detections
from centernet2.evaluation.report.matching import Matches
from centernet2.evaluation.report.pictures import DrawnImage
from centernet2.evaluation.report.precision import COCO_IOUS

__all__ = ["Sections", "data_section", "figure_sections", "image_section"]

Sections = dict[str, list[str]]

_FEW_CLASSES = 8  # their confusion matrix takes half the page's width


def data_section(counts: Mapping[str, int], about: Mapping[str, str]) -> Sections:
    """What was evaluated, and with what."""
    return {
        "Data": [
            page.table(list(counts), [list(counts.values())]),
            page.facts(about),
        ]
    }


def figure_sections(
    data: Detections,
    tasks: Mapping[str, TaskFigures],
    rows: Sequence[Mapping[str, Any]],
    threshold: float,
) -> Sections:
    """All but the drawn images.

    Args:
        data: what was evaluated.
        tasks: "box" and, if there are any, "mask".
        rows: of the classes.
        threshold: score from which on detections are confident.
    """
    box = tasks["box"]
    confident = f"score {threshold:g} and more"
    classes = np.array([row["AP"] for row in rows], dtype=float)
    order = class_plots.order_classes(classes, [row["objects"] for row in rows])
    confusion = page.figure(
        plots.plot_confusion(box.matches.confusion(len(rows), threshold), data.names),
        "confusion matrix",
        f"boxes at IoU 0.5, {confident}, in % of the row",
        scrolls=True,
    )
    pair = [confusion, _calibration(box.matches)]
    sections: Sections = {
        "Average precision, %": [_by_task({t: f.headline for t, f in tasks.items()})],
        "False discovery rate, 1 - AP at IoU 0.05 to 0.50, %": [
            _by_task({t: f.false_discovery for t, f in tasks.items()})
        ],
        "Precision over recall, and AP by size": [
            page.row(
                [
                    *(_precision(task, figures) for task, figures in tasks.items()),
                    _sizes(tasks),
                ]
            )
        ],
        f"Errors at IoU 0.5: all, those of {confident}, and what they cost": [
            _errors(tasks),
            '<p class="note">dAP: points of AP50 that would be gained if there were none of the '
            "kind.</p>",
        ],
        "Confusion, and calibration of scores": [
            page.row(pair) if len(rows) <= _FEW_CLASSES else "".join(pair)
        ],
    }
    if len(order) > 1:
        sections["Best and worst classes"] = [_classes(classes, order, box, data.names)]
    sections[f"Classes (errors: {confident})"] = [
        page.table(list(rows[0]), [list(row.values()) for row in rows], sortable=True)
        if rows
        else "<p>None.</p>"
    ]
    return sections


def image_section(
    drawn: Mapping[str, Sequence[DrawnImage]], problems: Sequence[str], threshold: float
) -> Sections:
    """Images drawn, under headings; and a sentence for each that could not be."""
    sections: Sections = {}
    for heading, images in drawn.items():
        figures = [
            page.figure(
                image.jpeg,
                image.file_name,
                f"{image.file_name}: F1 {image.score.f1:.0f} %, {image.score.found} of "
                f"{image.score.objects} found, {image.score.false} false",
                kind="jpeg",
            )
            for image in images
        ]
        if figures:
            sections[f"{heading} images, by F1 at IoU 0.5 and score {threshold:g}"] = figures
    if problems:
        sections["Images that could not be drawn"] = [page.lines(problems)]
        if not sections.keys() - {"Images that could not be drawn"}:
            sections["Images that could not be drawn"].append(
                "<p>Is this the folder that the file names of the annotations are relative to?</p>"
            )
    return sections


def _by_task(figures: Mapping[str, Mapping[str, float]]) -> str:
    columns = list(next(iter(figures.values())))
    return page.table(["", *columns], [[task, *v.values()] for task, v in figures.items()])


def _errors(tasks: Mapping[str, TaskFigures]) -> str:
    header = [f"{task}: {column}" for task in tasks for column in ("all", "confident", "dAP")]
    rows = [
        [kind, *(value for f in tasks.values() for value in f.errors[kind].values())]
        for kind in tasks["box"].errors
    ]
    return page.table(["kind", *header], rows)


def _precision(task: str, figures: TaskFigures) -> str:
    picture = plots.plot_precision(figures.precision, COCO_IOUS.tolist())
    return page.figure(picture, "precision over recall", f"{task}, mean of classes")


def _classes(
    ap: npt.NDArray[np.float64],
    order: npt.NDArray[np.int64],
    box: TaskFigures,
    names: Sequence[str],
) -> str:
    bars = [
        page.figure(class_plots.plot_class_ap(ap, part, names), "AP", title)
        for title, part in class_plots.best_and_worst(order, class_plots.MOST_BARS).items()
    ]
    lines = [
        page.figure(
            class_plots.plot_class_precision(box.precision[0], part, names),
            "precision over recall",
            f"{title}, boxes at IoU 0.5",
        )
        for title, part in class_plots.best_and_worst(order, class_plots.MOST_LINES).items()
    ]
    return page.row([*bars, *lines])


def _sizes(tasks: Mapping[str, TaskFigures]) -> str:
    counts = np.array([row["objects"] for row in tasks["box"].sizes])
    used = np.flatnonzero(counts)
    if not len(used):
        return "<p>No objects.</p>"
    shown = {t: f.sizes[used[0] : used[-1] + 1] for t, f in tasks.items()}
    return page.figure(plots.plot_sizes(shown), "AP by size", "AP by the side of the objects")


def _calibration(matches: Matches) -> str:
    calibration = calibrate(*matches.correctness())
    return page.figure(
        plots.plot_calibration(calibration),
        "reliability diagram",
        f"expected calibration error {page.text(100 * calibration.error)} %",
    )
