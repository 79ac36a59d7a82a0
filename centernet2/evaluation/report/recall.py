"""The section on the first stage's proposals, from what ``tools/proposal_recall.py`` measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from centernet2.data.json_file import read_json
from centernet2.errors import UserError
from centernet2.evaluation.report import page
from centernet2.evaluation.report.plots import png
from centernet2.evaluation.report.sections import Sections

__all__ = ["recall_section"]


def recall_section(path: Path) -> Sections:
    """Average recall of each first stage, as a table and over the number of proposals.

    Args:
        path: the file that ``tools/proposal_recall.py --json`` wrote.

    Raises:
        UserError: for another file.
    """
    content = read_json(path)
    try:
        return {
            f"Recall of the first stage on {dataset}: AR@k at IoU 0.5 to 0.95, %": [
                page.table(*_table(stages)),
                page.figure(_plot(stages), "recall over proposals", "objects of all sizes"),
            ]
            for dataset, stages in content.items()
        }
    except (AttributeError, KeyError, StopIteration, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a file of recalls: give what tools/proposal_recall.py --json wrote."
        ) from error


def _table(stages: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    counts = next(iter(stages.values()))["counts"]
    rows = [
        [name, size, stage["objects"][size], *map(float, recall)]
        for name, stage in stages.items()
        for size, recall in stage["average_recall"].items()
        if recall is not None
    ]
    return ["first stage", "size", "objects", *(f"AR@{count}" for count in counts)], rows


def _plot(stages: Mapping[str, Any]) -> bytes:
    figure = Figure(figsize=(5, 3.5), layout="constrained", dpi=110)
    axes = figure.subplots()
    for name, stage in stages.items():
        recall = stage["average_recall"]["all"]
        if recall is not None:
            axes.plot(stage["counts"], recall, marker="o", markersize=4, label=name)
    axes.set(xlabel="proposals an image", ylabel="AR, %", xscale="log", ylim=(0, 100))
    axes.grid(alpha=0.25)
    counts = next(iter(stages.values()))["counts"]
    axes.set_xticks(counts, map(str, counts))
    axes.set_xticks([], minor=True)
    if axes.lines:
        axes.legend(fontsize=8, frameon=False)
    return png(figure)
