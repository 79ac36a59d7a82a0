"""Training curves: losses, learning rate and AP over the iterations of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from centernet2.errors import UserError

__all__ = ["plot_curves", "read_metrics"]

Series = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

SMOOTHING = 0.6
# Metrics shown as accuracy, of all those that the evaluators log
ACCURACIES = ("bbox/AP", "bbox/AP50", "segm/AP")


def read_metrics(run: Path) -> dict[str, Series]:
    """Read a run's ``metrics.json``.

    Args:
        run: the run's OUTPUT_DIR.

    Returns:
        For each metric its iterations and values, finite ones, in the order of the iterations. A
        resumed run repeats some iterations: the later line counts.

    Raises:
        UserError: if there is no such file, or nothing in it.
    """
    path = run / "metrics.json"
    if not path.is_file():
        raise UserError(f"{run} has no metrics.json: name the OUTPUT_DIR of a training run.")
    values: dict[str, dict[int, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # a killed run can leave its last line unfinished
        for name, value in record.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                values.setdefault(name, {})[record.get("iteration", 0)] = float(value)
    if not values:
        raise UserError(f"{path} holds no metrics yet.")
    return {
        name: (np.array(sorted(v), dtype=float), np.array([v[i] for i in sorted(v)]))
        for name, v in values.items()
    }


def plot_curves(runs: Mapping[str, Path], output: Path) -> Path:
    """Draw the curves of one or several runs.

    With one run every loss has a line of its own; with several only their total is compared.

    Args:
        runs: name shown in the legend, and OUTPUT_DIR, of each run.
        output: picture file to write, PNG, SVG or PDF.

    Returns:
        ``output``.

    Raises:
        UserError: see :func:`read_metrics`.
    """
    metrics = {name: read_metrics(path) for name, path in runs.items()}
    figure = Figure(figsize=(12, 3.6), layout="constrained", dpi=110)
    losses, rate, accuracy = figure.subplots(1, 3, width_ratios=[2, 1, 1.3])

    if len(metrics) == 1:
        (series,) = metrics.values()
        shown = sorted(n for n in series if n.startswith("loss_") or n == "total_loss")
        _lines(losses, {n.removeprefix("loss_"): series[n] for n in shown}, smooth=True)
        _lines(rate, _pick(series, ["lr"]))
        _lines(accuracy, _pick(series, ACCURACIES), marker="o")
    else:
        totals = {n: s["total_loss"] for n, s in metrics.items() if "total_loss" in s}
        _lines(losses, totals, smooth=True)
        _lines(rate, {n: s["lr"] for n, s in metrics.items() if "lr" in s})
        best = {n: s["bbox/AP"] for n, s in metrics.items() if "bbox/AP" in s}
        _lines(accuracy, best, marker="o")
        accuracy.set_ylabel("box AP")

    losses.set_yscale("log")
    for axes, title in ((losses, "losses (smoothed)"), (rate, "learning rate"), (accuracy, "AP")):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("iteration", fontsize=9)
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=8)
        if axes.lines and axes is not rate:
            outside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
            axes.legend(fontsize=7, frameon=False, **(outside if axes is losses else {}))
    accuracy.set_ylim(0, 100)
    accuracy.set_xlim(
        0, 1.02 * max(i[-1] for series in metrics.values() for i, _ in series.values())
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output)
    return output


def _pick(series: Mapping[str, Series], names: Sequence[str]) -> dict[str, Series]:
    return {name: series[name] for name in names if name in series}


def _lines(
    axes: Axes, series: Mapping[str, Series], *, smooth: bool = False, marker: str | None = None
) -> None:
    for i, (name, (iterations, values)) in enumerate(series.items()):
        color = "black" if name == "total_loss" else f"C{i % 10}"
        if smooth:
            axes.plot(iterations, np.maximum(values, 1e-6), color=color, alpha=0.15, linewidth=1)
            values = np.maximum(_smoothed(values), 1e-6)
        style = "--" if i >= 10 and color != "black" else "-"
        axes.plot(
            iterations,
            values,
            label=name,
            color=color,
            linestyle=style,
            marker=marker,
            markersize=4,
        )


def _smoothed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Exponential moving average, without the start's bias."""
    result, average = np.empty_like(values), 0.0
    for i, value in enumerate(values):
        average = SMOOTHING * average + (1 - SMOOTHING) * value
        result[i] = average / (1 - SMOOTHING ** (i + 1))
    return result
