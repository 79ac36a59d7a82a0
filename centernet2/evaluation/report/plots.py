"""The report's figures of a whole data set, legible with one class and with a thousand."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.figure import Figure

from centernet2.evaluation.report.calibration import Calibration

__all__ = [
    "RECALLS",
    "plot_calibration",
    "plot_confusion",
    "plot_precision",
    "plot_sizes",
    "png",
    "short",
]

MOST_CLASSES = 20
MOST_LETTERS = 20
RECALLS = np.linspace(0, 1, 101)


def plot_precision(precision: npt.NDArray[np.float64], ious: Sequence[float]) -> bytes:
    """PNG of the mean precision of all classes over recall, a line for each IoU.

    Args:
        precision: ``(T, 101, K)``, -1 where a class has no objects.
        ious: T thresholds.
    """
    figure = Figure(figsize=(5, 4), layout="constrained", dpi=110)
    axes = figure.subplots()
    colors = np.linspace(0.1, 0.9, len(ious))
    for iou, color, values in zip(ious, colors, precision):
        valid = values[:, (values > -1).all(axis=0)]
        if valid.size:
            line, shade = valid.mean(axis=1), colormaps["viridis"](color)
            axes.plot(RECALLS, line, label=f"{iou:.2f}", color=shade)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.25)
    if axes.lines:
        axes.legend(
            title="IoU", fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5)
        )
    return png(figure)


def plot_sizes(sizes: Mapping[str, Sequence[Mapping[str, float]]]) -> bytes:
    """PNG of AP by the size of objects, with the number of objects below it.

    Args:
        sizes: for each task the bins of :class:`centernet2.evaluation.report.figures.TaskFigures`,
            those that are to be shown.
    """
    figure = Figure(figsize=(5, 4.4), layout="constrained", dpi=110)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    bins = next(iter(sizes.values()))
    centres, width = np.arange(len(bins)), 0.85 / len(sizes)
    for i, (task, rows) in enumerate(sizes.items()):
        shift = (i - (len(sizes) - 1) / 2) * width
        for key, color in (("AP50", f"C{i}"), ("AP", f"C{i}")):
            values = np.nan_to_num([row[key] for row in rows])
            alpha = 1 if key == "AP" else 0.35
            top.bar(centres + shift, values, width, color=color, alpha=alpha, label=f"{task} {key}")
    top.set(ylabel="%", ylim=(0, 100))
    top.legend(
        fontsize=8, frameon=False, ncols=2 * len(sizes), loc="lower center", bbox_to_anchor=(0.5, 1)
    )
    bottom.bar(centres, [row["objects"] for row in bins], 0.85, color="0.6")
    bottom.set(xlabel="side of the object, pixels", ylabel="objects")
    ends = [f"-{row['to']:g}" if row["to"] == row["to"] else " +" for row in bins]
    bottom.set_xticks(centres, [f"{row['from']:g}{end}" for row, end in zip(bins, ends)])
    bottom.tick_params(labelsize=8)
    return png(figure)


def plot_calibration(calibration: Calibration) -> bytes:
    """PNG of a reliability diagram with the number of detections below it."""
    figure = Figure(figsize=(5, 4.6), layout="constrained", dpi=110)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    bins = len(calibration.counts)
    centres = (np.arange(bins) + 0.5) / bins
    top.bar(centres, np.nan_to_num(calibration.accuracy), 0.9 / bins, color="C0")
    top.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1)
    top.set(ylabel="part that is correct", ylim=(0, 1))
    bottom.bar(centres, calibration.counts, 0.9 / bins, color="0.6")
    bottom.set(xlabel="score", ylabel="detections", xlim=(0, 1))
    if calibration.counts.any():
        bottom.set_yscale("symlog", linthresh=1)
    return png(figure)


def plot_confusion(counts: npt.NDArray[np.int64], names: Sequence[str]) -> bytes:
    """PNG of a confusion matrix, each row in percent of the row's sum.

    Args:
        counts: ``(K + 1, K + 1)``, rows the truth; the last row and column are background.
        names: K class names. Beyond 20 classes, those most often confused with another are shown.
    """
    k = len(names)
    shown = np.arange(k)
    if k > MOST_CLASSES:
        off = counts - np.diag(np.diag(counts))
        errors = off[:k, :k].sum(axis=1) + off[:k, :k].sum(axis=0)
        shown = np.sort(np.argsort(-errors, kind="stable")[:MOST_CLASSES])
    shown = np.append(shown, k)
    totals = counts.sum(axis=1, keepdims=True)
    percent = (100 * counts / np.maximum(totals, 1))[np.ix_(shown, shown)]
    labels = [short(n) for n in [*names, "background"]]
    ticks = [labels[i] for i in shown]
    side = 2.4 + 0.32 * len(shown)
    figure = Figure(figsize=(side, side), layout="constrained", dpi=100)
    axes = figure.subplots()
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(percent):
        if counts[shown[row], shown[column]]:
            color = "white" if value > 55 else "black"
            axes.text(
                column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=color
            )
    axes.set_xticks(range(len(shown)), ticks, rotation=90, fontsize=8)
    axes.set_yticks(range(len(shown)), ticks, fontsize=8)
    axes.set(xlabel="detected", ylabel="truth")
    return png(figure)


def short(name: str) -> str:
    """A class name for a label: cut in the middle, and without meaning to matplotlib."""
    half = MOST_LETTERS // 2
    text = name if len(name) <= MOST_LETTERS else f"{name[:half]}…{name[1 - half :]}"
    return text.replace("$", r"\$")  # else matplotlib reads it as mathematics


def png(figure: Figure) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
