"""The report's figures of classes: the best and the worst of however many there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from centernet2.evaluation.report.plots import RECALLS, png, short

__all__ = [
    "MOST_BARS",
    "MOST_LINES",
    "best_and_worst",
    "order_classes",
    "plot_class_ap",
    "plot_class_precision",
]

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


def best_and_worst(order: Integers, most: int) -> dict[str, Integers]:
    """The first and the last classes of an order; all in one if there are at most twice as many."""
    if len(order) <= 2 * most:
        return {f"{len(order)} classes": order}
    return {f"best {most} of {len(order)} classes": order[:most], f"worst {most}": order[-most:]}


def plot_class_ap(ap: Array, shown: Integers, names: Sequence[str]) -> bytes:
    """PNG of a bar of AP for each of the classes ``shown``.

    Args:
        ap: ``(K,)`` in percent.
        shown: indices of the classes.
        names: K names.
    """
    figure = Figure(figsize=(4.8, 1 + 0.24 * len(shown)), layout="constrained", dpi=110)
    axes = figure.subplots()
    axes.barh(range(len(shown)), ap[shown], color="C0")
    for i, k in enumerate(shown):
        axes.text(ap[k] + 1, i, f"{ap[k]:.1f}", va="center", fontsize=7)
    axes.set_yticks(range(len(shown)), [short(names[k]) for k in shown], fontsize=8)
    axes.set(xlim=(0, 110), ylim=(len(shown) - 0.4, -0.6), xlabel="AP, %")
    axes.set_xticks(range(0, 101, 20))
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def plot_class_precision(precision: Array, shown: Integers, names: Sequence[str]) -> bytes:
    """PNG of precision over recall at one IoU, a line for each of the classes ``shown``.

    Args:
        precision: ``(101, K)``.
        shown: indices of at most ten classes.
        names: K names.
    """
    figure = Figure(figsize=(4.8, 3.4), layout="constrained", dpi=110)
    axes = figure.subplots()
    for i, k in enumerate(shown):
        axes.plot(RECALLS, precision[:, k], label=short(names[k]), color=f"C{i}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.25)
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=2)
    return png(figure)
