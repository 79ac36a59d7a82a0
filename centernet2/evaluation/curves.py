"""Training curves: losses, learning rate and AP over the iterations of one or several runs."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter, StrMethodFormatter

from centernet2.errors import UserError
from centernet2.evaluation.report.page import figure as picture_html
from centernet2.evaluation.report.page import page, table
from centernet2.evaluation.run_metrics import Metrics, Series

__all__ = ["SMOOTHING", "check_picture_name", "draw_curves", "write_page", "write_picture"]

SMOOTHING = 0.6

_ACCURACY = re.compile(
    r"(?:(?P<data>.+)/)?(?P<task>bbox|segm|keypoints)(?P<views>_TTA)?/(?P<figure>AP|AP50)"
)
_TASKS = {"bbox": "box", "segm": "mask", "keypoints": "keypoint"}
_COLORS = 10  # of matplotlib's cycle; what comes after differs in style
_STYLES = (("-", "o"), ("--", "^"), (":", "s"))  # lines, and points of AP

# Wide tables scroll instead of squeezing the runs' names
_ONE_LINE = "<style>td{overflow-wrap:normal;white-space:nowrap}</style>"


def draw_curves(runs: Mapping[str, Metrics], *, smoothing: float = SMOOTHING) -> Figure:
    """Draw the curves of one or several runs.

    With one run every loss has a line of its own; with several their totals are compared, and
    each kind of AP has a panel.

    Args:
        runs: name shown in the legend, and metrics, of each run; at least one.
        smoothing: weight of the past in the losses' moving average, in [0, 1).
    """
    draw = _draw_one if len(runs) == 1 else _draw_several
    figure, losses, rate, aps = draw(runs, smoothing)
    losses.set_yscale("log")
    losses.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    losses.yaxis.set_minor_formatter(LogFormatter())
    end = max(iterations[-1] for metrics in runs.values() for iterations, _ in metrics.values())
    for axes in (losses, rate, *aps):
        axes.set_xlabel("iteration", fontsize=9)
        axes.set_xlim(0, 1.02 * max(end, 1))
        axes.grid(alpha=0.25)
        axes.tick_params(which="both", labelsize=8)
        axes.title.set_fontsize(10)
        if not axes.lines:
            axes.text(0.5, 0.5, "nothing logged", transform=axes.transAxes, ha="center")
    for axes in aps:
        axes.set_ylim(0, max([1.0, *(1.05 * np.max(line.get_ydata()) for line in axes.lines)]))
    return figure


def check_picture_name(output: Path) -> None:
    """Before the work is done.

    Raises:
        UserError: for an ending that matplotlib does not know.
    """
    known = sorted(Figure().canvas.get_supported_filetypes())
    if output.suffix.lower().lstrip(".") not in known:
        raise UserError(f"Cannot draw {output}: its ending must be one of {', '.join(known)}.")


def write_picture(figure: Figure, output: Path) -> None:
    """Save a figure; the file's ending tells the format.

    Raises:
        UserError: for an ending that matplotlib does not know, or a file that cannot be written.
    """
    check_picture_name(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(output)
    except OSError as error:
        raise UserError(f"Cannot write {output}: {error.strerror}.") from error


def write_page(runs: Mapping[str, Metrics], figure: Figure, output: Path) -> None:
    """Save one HTML page, without outside resources: the curves and the last values of all runs.

    Raises:
        UserError: if the file cannot be written.
    """
    png = io.BytesIO()
    figure.savefig(png, format="png")
    title = "Training curves"
    sections = {
        "Curves": [picture_html(png.getvalue(), f"{title} of {', '.join(runs)}")],
        "Last values": [_ONE_LINE, table(*_last_values(runs), sortable=True)],
    }
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(page(title, sections), encoding="utf-8")
    except OSError as error:
        raise UserError(f"Cannot write {output}: {error.strerror}.") from error


def _last_values(runs: Mapping[str, Metrics]) -> tuple[list[str], list[list[object]]]:
    """Header and rows of a table with a run a row: last and best AP, last rate and losses."""
    found = [_accuracies(metrics) for metrics in runs.values()]
    aps = sorted({title for titles in found for title in titles})
    present = {name for metrics in runs.values() for name in metrics}
    plain: list[str] = [name for name in ("total_loss", "lr", "time") if name in present]
    plain += sorted(name for name in present if name.startswith("loss_"))
    header = ["run", "iteration"]
    header += [f"{title}, {which}" for title in aps for which in ("last", "best")] + plain
    rows: list[list[object]] = []
    for (name, metrics), titles in zip(runs.items(), found):
        end = max(iterations[-1] for iterations, _ in metrics.values())
        row: list[object] = [name, f"{end:.0f}"]
        for title in aps:
            values = metrics[titles[title]][1] if title in titles else np.array([np.nan])
            row += [float(values[-1]), float(values.max())]
        row += [f"{metrics[key][1][-1]:.4g}" if key in metrics else "–" for key in plain]
        rows.append(row)
    return header, rows


def _accuracies(metrics: Metrics) -> dict[str, str]:
    """The metrics that are an AP or AP50: title ("box AP50 TTA some_data") and metric's name."""
    found = {}
    for name in metrics:
        if match := _ACCURACY.fullmatch(name):
            about = ["TTA" if match["views"] else "", match["data"] or ""]
            found[" ".join(filter(None, [_TASKS[match["task"]], match["figure"], *about]))] = name
    return found


_Drawn = tuple[Figure, Axes, Axes, list[Axes]]


def _draw_one(runs: Mapping[str, Metrics], smoothing: float) -> _Drawn:
    ((name, metrics),) = runs.items()
    figure = Figure(figsize=(13, 3.8), layout="constrained", dpi=110)
    figure.suptitle(_literal(name), fontsize=10)
    losses, rate, ap = figure.subplots(1, 3, width_ratios=[1.4, 1, 1.2])
    if "total_loss" in metrics:
        _add(losses, metrics["total_loss"], smoothing, color="black", label="total")
    for i, loss in enumerate(sorted(n for n in metrics if n.startswith("loss_"))):
        _add(losses, metrics[loss], smoothing, **_look(i), label=_literal(loss[len("loss_") :]))
    if "lr" in metrics:
        _add(rate, metrics["lr"])
    for i, (title, key) in enumerate(sorted(_accuracies(metrics).items())):
        _add(ap, metrics[key], **_look(i, points=True), label=_literal(title))
    for axes, title in ((losses, "losses"), (rate, "learning rate"), (ap, "AP")):
        axes.set_title(title)
        if axes.lines and axes is not rate:
            axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure, losses, rate, [ap]


def _draw_several(runs: Mapping[str, Metrics], smoothing: float) -> _Drawn:
    found = {name: _accuracies(metrics) for name, metrics in runs.items()}
    every = {title for titles in found.values() for title in titles}
    shown = sorted(title for title in every if "AP50" not in title.split()) or ["AP"]
    width = 4.2 * (2 + len(shown))
    columns = max(1, int(width / (0.8 + 0.085 * max(len(name) for name in runs))))
    legend_height = 0.2 * -(-len(runs) // columns)
    figure = Figure(figsize=(width, 3.6 + legend_height), layout="constrained", dpi=110)
    losses, rate, *aps = figure.subplots(1, 2 + len(shown))
    for i, (name, metrics) in enumerate(runs.items()):
        if "total_loss" in metrics:
            _add(losses, metrics["total_loss"], smoothing, **_look(i))
        if "lr" in metrics:
            _add(rate, metrics["lr"], **_look(i))
        for axes, title in zip(aps, shown):
            if title in found[name]:
                _add(axes, metrics[found[name][title]], **_look(i, points=True))
    for axes, title in zip([losses, rate, *aps], ["total loss", "learning rate", *shown]):
        axes.set_title(_literal(title))
    handles: list[Artist] = [
        Line2D([], [], **_look(i, points=True), markersize=4, label=_literal(name))
        for i, name in enumerate(runs)
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False
    )
    return figure, losses, rate, aps


def _look(i: int, *, points: bool = False) -> dict[str, Any]:
    style, marker = _STYLES[i // _COLORS % len(_STYLES)]
    return {
        "color": f"C{i % _COLORS}",
        "linestyle": style,
        "marker": marker if points else "",
    }


def _add(axes: Axes, series: Series, smoothing: float = 0.0, **look: Any) -> None:
    iterations, values = series
    if smoothing:
        values = np.maximum(values, 1e-6)
        axes.plot(iterations, values, color=look.get("color"), alpha=0.15, linewidth=1)
        values = _smoothed(values, smoothing)
    axes.plot(iterations, values, **look, markersize=4)


def _smoothed(values: npt.NDArray[np.float64], smoothing: float) -> npt.NDArray[np.float64]:
    """Exponential moving average, without the start's bias."""
    result, average = np.empty_like(values), 0.0
    for i, value in enumerate(values):
        average = smoothing * average + (1 - smoothing) * value
        result[i] = average / (1 - smoothing ** (i + 1))
    return result


def _literal(name: str) -> str:
    """A name as matplotlib shows it: no mathematics, and not hidden for a leading underscore."""
    text = name.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
