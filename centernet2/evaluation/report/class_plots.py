"""The report's figures of classes: the best and the worst of however many there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from centernet2.evaluation.report.plots import RECALLS, png, short

__all__ = ["order_classes", "plot_class_ap", "plot_class_precision"]

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MOST_BARS = 20
MOST_LINES = 5


def order_classes(ap: Array, objects: Sequence[int]) -> Integers:
    """Classes with an AP, the best first; of equal ones those with fewer objects first.

    Args:
        ap: ``(K,)``, NaN for a class without objects.
        objects: K numbers of objects.
    """
    order = np.lexsort((np.asarray(objects), -np.nan_to_num(ap)))
    return order[~np.isnan(ap[order])]


def plot_class_ap(ap: Array, order: Integers, names: Sequence[str]) -> bytes:
    """PNG of bars of AP: all classes, or beyond 40 of them the best 20 and the worst 20.

    Args:
        ap: ``(K,)`` in percent.
        order: the classes that count, the best first.
        names: K names.
    """
    many = len(order) > 2 * MOST_BARS
    rows = MOST_BARS if many else -(-len(order) // 2)
    halves = [order[:rows], order[len(order) - rows if many else rows :]]
    titles = [f"best {rows} of {len(order)} classes", f"worst {rows}"] if many else ["", ""]
    shown = [half for half in halves if len(half)]
    figure = Figure(figsize=(9, 1 + 0.24 * rows), layout="constrained", dpi=110)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, half, title in zip(panels, shown, titles):
        axes.barh(range(len(half)), ap[half], color="C0")
        for i, k in enumerate(half):
            axes.text(ap[k] + 1, i, f"{ap[k]:.1f}", va="center", fontsize=7)
        axes.set_yticks(range(len(half)), [short(names[k]) for k in half], fontsize=8)
        axes.set(xlim=(0, 110), ylim=(rows - 0.4, -0.6), xlabel="AP, %")
        axes.set_xticks(range(0, 101, 20))
        axes.set_title(title, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def plot_class_precision(precision: Array, order: Integers, names: Sequence[str]) -> bytes:
    """PNG of precision over recall at one IoU, a line for each class: the best 5 and the worst 5.

    Args:
        precision: ``(101, K)``.
        order: the classes that count, the best first.
        names: K names.
    """
    many = len(order) > 2 * MOST_LINES
    parts = (
        [("best", order[:MOST_LINES]), ("worst", order[-MOST_LINES:])] if many else [("", order)]
    )
    figure = Figure(figsize=(9 if many else 5, 3.6), layout="constrained", dpi=110)
    for axes, (title, chosen) in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts):
        _lines(axes, precision[:, chosen], [short(names[k]) for k in chosen])
        axes.set_title(title, fontsize=9)
    return png(figure)


def _lines(axes: Axes, precision: Array, labels: Sequence[str]) -> None:
    for i, label in enumerate(labels):
        axes.plot(RECALLS, precision[:, i], label=label, color=f"C{i}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
