"""How the time of an image grows with its size, its objects, the classes and the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.figure import Figure

from .models import Contestant, Scene, inference_step, train_step
from .targets import TargetCase, target_steps
from .timing import measure, summary

__all__ = ["Axis", "draw_growth", "measure_growth"]

SIZES = ((320, 480), (480, 736), (640, 960), (800, 1216), (1120, 1696))
BATCHES = (1, 2, 4, 8)
BOXES = (10, 50, 200, 500, 1000, 2000)
CLASSES = (1, 20, 80, 365, 1203)


@dataclass(frozen=True)
class Axis:
    """What is varied and what is timed.

    Attributes:
        quantity: on the horizontal axis, with its unit.
        what: of the vertical axis, which is in milliseconds.
        values: where it was measured.
        curves: for each curve's name, what was measured at each value (see :func:`summary`).
    """

    quantity: str
    what: str
    values: list[float]
    curves: dict[str, list[dict[str, Any]]]


def measure_growth(
    contestants: Sequence[Contestant], overrides: list[str], repeat: int
) -> list[Axis]:
    """Time over resolution, batch, objects in training, and classes.

    Each point is one value of one quantity, the others as of ``Scene((480, 736))``; the models take
    turns at each.
    """
    base = Scene((480, 736))
    sizes = [replace(base, size=size) for size in SIZES]
    batches = [replace(base, images=images) for images in BATCHES]
    boxes = [replace(base, boxes=count) for count in BOXES]
    plain = [replace(c, treatments=()) for c in contestants]
    found = [
        Axis(
            "image (megapixels)", "inference, an image",
            [h * w / 1e6 for h, w in SIZES],
            _over_scenes(contestants, overrides, sizes, repeat, inference_step),
        ),
        Axis(
            "batch (images)", "inference, an image", list(map(float, BATCHES)),
            _over_scenes(contestants, overrides, batches, repeat, inference_step),
        ),
        Axis(
            "objects of an image", "training step, an image", list(map(float, BOXES)),
            _over_scenes(plain, overrides, boxes, repeat, train_step),
        ),
    ]  # fmt: skip
    for quantity, counts, cases in (
        ("objects of an image", BOXES, [TargetCase(boxes=n) for n in BOXES]),
        ("classes", CLASSES, [TargetCase(classes=n) for n in CLASSES]),
    ):
        curves = _over_targets(cases, repeat)
        what = "2 images of 800 x 1216"
        found.append(Axis(quantity, what, list(map(float, counts)), curves))
    return found


def _over_scenes(
    contestants: Sequence[Contestant],
    overrides: list[str],
    scenes: Sequence[Scene],
    repeat: int,
    build: Any,
) -> dict[str, list[dict[str, Any]]]:
    curves: dict[str, list[dict[str, Any]]] = {c.name: [] for c in contestants}
    for scene in scenes:
        steps = {c.name: build(c, overrides, 1, scene)[0] for c in contestants}
        for name, times in measure(steps, repeat, warm_up=1).items():
            curves[name].append(summary([seconds / scene.images for seconds in times.wall]))
    return curves


def _over_targets(cases: Sequence[TargetCase], repeat: int) -> dict[str, list[dict[str, Any]]]:
    curves: dict[str, list[dict[str, Any]]] = {"targets": [], "heatmap loss": []}
    for case in cases:
        steps = dict(zip(curves, target_steps(case).values()))
        for name, times in measure(steps, repeat, warm_up=1).items():
            curves[name].append(summary(times.wall))
    return curves


def draw_growth(axes: Sequence[Axis]) -> Figure:
    """One plot an axis: medians, with quartiles as bands."""
    figure = Figure(figsize=(4.6 * len(axes), 3.8), layout="constrained")
    for plot, axis in zip(figure.subplots(1, len(axes), squeeze=False)[0], axes):
        for name, points in axis.curves.items():
            median = [1000 * p["median_s"] for p in points]
            low, high = ([1000 * p["quartiles_s"][i] for p in points] for i in (0, 1))
            (line,) = plot.plot(axis.values, median, marker="o", markersize=4, label=name)
            plot.fill_between(axis.values, low, high, color=line.get_color(), alpha=0.2)
        plot.set_xlabel(axis.quantity)
        plot.set_ylabel("ms")
        plot.set_title(axis.what, fontsize=10)
        plot.set_ylim(bottom=0)
        plot.set_xlim(left=0)
        plot.grid(alpha=0.3)
        plot.legend(fontsize=8)
    return figure
