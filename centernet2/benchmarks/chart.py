"""Accuracy against speed, as a picture and as a page with names under the mouse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from centernet2.errors import UserError

from .points import Point

__all__ = ["draw_chart", "write_page"]

PANELS_ACROSS = 2
_MARKERS = "osD^v<>pPXh*"


def draw_chart(points: Sequence[Point]) -> Figure:
    """A panel for each group: never two machines or data sets on the same axes.

    Args:
        points: those without AP are listed by speed alone.
    """
    groups = _groups(points)
    down = -(-len(groups) // PANELS_ACROSS)
    figure = Figure(figsize=(7.5 * PANELS_ACROSS, 5.2 * down), layout="constrained", dpi=110)
    panels = figure.subplots(down, PANELS_ACROSS, squeeze=False).flatten()
    for panel, (group, members) in zip(panels, groups.items()):
        panel.set_title(group, fontsize=11)
        panel.set_xlabel("images a second, one at a time")
        panel.grid(alpha=0.3)
        if members[0].ap is None:
            _bars(panel, members)
        else:
            _scatter(panel, members)
    for panel in panels[len(groups) :]:
        panel.axis("off")
    return figure


def _groups(points: Sequence[Point]) -> dict[str, list[Point]]:
    groups: dict[str, list[Point]] = {}
    for point in points:
        name = point.group if point.ap is not None else f"{point.group}: no trained weights"
        groups.setdefault(name, []).append(point)
    return groups


def _scatter(panel: Any, members: Sequence[Point]) -> None:
    panel.set_ylabel("box AP")
    panel.set_xscale("log")
    panel.margins(0.12)
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())
    few = len(members) <= 12
    for i, point in enumerate(sorted(members, key=lambda p: -p.fps)):
        (dot,) = panel.plot(
            point.fps, point.ap, _MARKERS[i % len(_MARKERS)] if few else "o",
            markersize=8 if few else 4, label=point.name,
        )  # fmt: skip
        if point.spread:
            panel.plot(point.spread, [point.ap] * 2, color=dot.get_color(), linewidth=1)
        if not few and point.name.startswith(("CenterNet", "Yolo")) and "Key" not in point.name:
            panel.annotate(
                point.name, (point.fps, point.ap), xytext=(6, 4), textcoords="offset points",
                fontsize=6,
            )  # fmt: skip
    if few:  # names beside the dots would cover each other
        panel.legend(fontsize=8, loc="best")
    else:
        low, high = panel.get_xlim()
        panel.set_xlim(low, high * 1.8)  # room for the last one's name


def _bars(panel: Any, members: Sequence[Point]) -> None:
    ordered = sorted(members, key=lambda p: p.fps)
    panel.barh([p.name for p in ordered], [p.fps for p in ordered], height=0.6)
    panel.tick_params(axis="y", labelsize=8)
    for i, point in enumerate(ordered):
        panel.annotate(
            f"{point.fps:.2g}", (point.fps, i), xytext=(4, -3), textcoords="offset points",
            fontsize=8,
        )  # fmt: skip


def write_page(points: Sequence[Point], output: Path) -> None:
    """The same as one HTML file that asks for nothing from elsewhere; needs the extra ``chart``.

    Raises:
        UserError: plotly is not installed, or the file cannot be written.
    """
    try:
        from plotly import graph_objects
        from plotly.subplots import make_subplots
    except ImportError:
        raise UserError(
            "The interactive chart needs plotly: pip install 'centernet2[chart]', "
            "or name a .png with --output."
        ) from None
    groups = _groups(points)
    figure = make_subplots(
        rows=len(groups),
        cols=1,
        subplot_titles=list(groups),
        vertical_spacing=0.35 / len(groups) if len(groups) > 1 else 0,
    )
    for row, unordered in enumerate(groups.values(), start=1):
        members = sorted(unordered, key=lambda p: p.fps)
        timed_only = members[0].ap is None
        names = [p.name for p in members]
        figure.add_trace(
            graph_objects.Scatter(
                x=[p.fps for p in members],
                y=names if timed_only else [p.ap for p in members],
                mode="markers" if timed_only or len(members) > 12 else "markers+text",
                text=names,
                # In turns, so that the names of neighbours do not cover each other
                textposition=[f"{('top', 'bottom')[i % 2]} center" for i in range(len(members))],
                cliponaxis=False,
                customdata=[p.about for p in members],
                hovertemplate="<b>%{text}</b><br>%{x:.3g} images a second"
                + ("" if timed_only else "<br>%{y:.1f} box AP")
                + "<br>%{customdata}<extra></extra>",
                marker={"size": 10},
                showlegend=False,
            ),
            row=row,
            col=1,
        )
        figure.update_xaxes(
            title="images a second, one at a time", type="log", dtick="D2", row=row, col=1
        )
        figure.update_yaxes(title=None if timed_only else "box AP", row=row, col=1)
    figure.update_layout(
        title="Accuracy and speed", height=480 * len(groups), template="simple_white"
    )
    try:
        figure.write_html(output, include_plotlyjs=True)
    except OSError as error:
        raise UserError(f"Cannot write {output}: {error.strerror}.") from error
