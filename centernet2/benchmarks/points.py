"""Accuracy and speed of a model: a point of a chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from .timing import Step, measure, summary

__all__ = ["Point", "Timed", "time_models"]


@dataclass(frozen=True)
class Point:
    """One model on one data set.

    Attributes:
        name: of the model.
        group: what can be compared with each other: the data set, and where it was timed.
        fps: images a second, one at a time, from the loader's tensor to the detections.
        ap: box AP in percent; None where there are no trained weights.
        about: size of the images, origin, number of parameters: for the reader.
        spread: images a second at the upper and lower quartile of the time.
    """

    name: str
    group: str
    fps: float
    ap: float | None = None
    about: str = ""
    spread: tuple[float, float] | None = None


@dataclass(frozen=True)
class Timed:
    """A model that is to be timed, and its point without the speed."""

    point: Point
    step: Step
    model: nn.Module


def time_models(models: Sequence[Timed], repeat: int) -> list[Point]:
    """Fill in the speeds: all models take turns in one process."""
    steps = {str(i): timed.step for i, timed in enumerate(models)}
    found = []
    for timed, times in zip(models, measure(steps, repeat).values()):
        figures = summary(times.wall)
        low, high = figures["quartiles_s"]
        millions = sum(p.numel() for p in timed.model.parameters()) / 1e6
        about = ", ".join(filter(None, [timed.point.about, f"{millions:.1f} M parameters"]))
        found.append(
            replace(
                timed.point, fps=1 / figures["median_s"], about=about, spread=(1 / high, 1 / low)
            )
        )
    return found
