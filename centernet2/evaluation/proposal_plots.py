"""Pictures of the recall of first stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from centernet2.evaluation.proposals import SIZES, ProposalRecall

__all__ = ["draw_counts", "draw_recall"]

COUNT_PANELS = {
    "box": "box AP",
    "mask": "mask AP",
    "AR": "recall of the proposals, IoU 0.5 to 0.95",
    "process": "CPU time an image (ms)",
}


def draw_recall(recalls: Mapping[str, ProposalRecall], at: int) -> Figure:
    """Draw average recall over the number of proposals, by size, and recall over IoU.

    Args:
        recalls: of each first stage, by the name shown; all with the same counts.
        at: number of proposals, one of the counts, at which recall is drawn over IoU.
    """
    figure = Figure(figsize=(17, 3.7 + 0.2 * -(-len(recalls) // 4)), layout="constrained", dpi=110)
    panels = figure.subplots(1, len(SIZES) + 1)
    for size, axes in zip(SIZES, panels):
        for name, recall in recalls.items():
            axes.plot(recall.counts, recall.average(size), marker="o", markersize=4, label=name)
        objects = next(iter(recalls.values())).objects[size]
        axes.set_title(f"{size} ({objects} objects)", fontsize=10)
        axes.set_ylim(0, 100)
        _count_axis(axes, next(iter(recalls.values())).counts)
    panels[0].set_ylabel("average recall, IoU 0.5 to 0.95")
    over_iou = panels[-1]
    for recall in recalls.values():
        index = recall.counts.index(at)
        over_iou.plot(recall.ious, 100 * recall.recall["all"][index], marker="o", markersize=4)
    over_iou.set_title(f"{at} proposals, all sizes", fontsize=10)
    over_iou.set(xlabel="IoU", ylabel="recall", ylim=(0, 100), xticks=np.linspace(0.5, 0.9, 5))
    for axes in panels:
        axes.grid(alpha=0.25)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    return figure


def draw_counts(rows: Mapping[str, Mapping[int, Mapping[str, float]]]) -> Figure:
    """Draw accuracy and time over the number of proposals that the second stage gets.

    Args:
        rows: of each detector by the name shown, for each number the figures "box", "mask" and
            "AR" in percent, "process" in seconds; those that no detector has get no panel.
    """
    shown = {
        key: title
        for key, title in COUNT_PANELS.items()
        if any(key in figures for found in rows.values() for figures in found.values())
    }
    width, legend = 3.9 * len(shown), 0.2 * -(-len(rows) // 4)
    figure = Figure(figsize=(width, 3.5 + legend), layout="constrained", dpi=110)
    for axes, (key, title) in zip(figure.subplots(1, len(shown)), shown.items()):
        highest = 0.0
        for i, (name, found) in enumerate(rows.items()):
            values = {count: figures[key] for count, figures in found.items() if key in figures}
            scale = 1000 if key == "process" else 1
            drawn = [scale * value for value in values.values()]
            axes.plot(list(values), drawn, marker="o", markersize=4, color=f"C{i}", label=name)
            highest = max([highest, *drawn])
        axes.set_title(title, fontsize=10)
        axes.set_ylim(0, 1.1 * highest or 1)
        axes.grid(alpha=0.25)
        _count_axis(axes, sorted({count for found in rows.values() for count in found}))
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    return figure


def _count_axis(axes: Axes, counts: Sequence[int]) -> None:
    """A logarithmic axis of the number of proposals, with the counts as its ticks."""
    axes.set_xscale("log")
    axes.set_xticks(list(counts), [str(count) for count in counts], fontsize=8, rotation=45)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("proposals an image")
