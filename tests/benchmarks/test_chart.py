from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from centernet2.benchmarks.chart import draw_chart, write_page
from centernet2.benchmarks.points import Point, Timed, time_models
from centernet2.benchmarks.published_speeds import PUBLISHED_GROUP, published_points
from centernet2.errors import UserError

POINTS = [
    Point("small", "cells, this CPU", 20.0, 51.0, "320 px", (19.0, 21.0)),
    Point("large", "cells, this CPU", 5.0, 58.0, "320 px", (4.0, 6.0)),
    Point("small", "people, this CPU", 18.0, 65.0),
    Point("R50", "random images, this CPU", 0.5),
]


def test_groups_never_share_axes() -> None:
    figure = draw_chart([*POINTS, *published_points()])
    titles = [panel.get_title() for panel in figure.axes if panel.get_title()]
    assert titles == [
        "cells, this CPU",
        "people, this CPU",
        "random images, this CPU: no trained weights",
        PUBLISHED_GROUP,
    ]
    cells, _, _, others, *_ = figure.axes
    assert [t.get_text() for t in cells.get_legend().get_texts()] == ["small", "large"]
    assert others.get_legend() is None  # too many
    assert "Yolov5s 640x640" in [t.get_text() for t in others.texts]


def test_page_stands_alone_and_names_each_point(tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="the page needs plotly")
    page = tmp_path / "chart.html"
    write_page([*POINTS, *published_points()], page)
    text = page.read_text(encoding="utf-8")
    assert "<script src=" not in text
    for name in ("small", "R50", "EfficientDet D7 1536x1536", "320 px"):
        assert name in text


def test_missing_plotly_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_plotly(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("plotly"):
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without_plotly)
    with pytest.raises(UserError, match=r"pip install 'centernet2\[chart\]'"):
        write_page(POINTS, tmp_path / "chart.html")


def test_published_figures_are_apart() -> None:
    points = published_points()
    assert len(points) == 42
    assert {p.group for p in points} == {PUBLISHED_GROUP}
    assert all(p.ap is not None and 20 < p.ap < 52 and 3 < p.fps < 300 for p in points)
    (fast,) = (p for p in points if p.name == "CenterNet MobileNetV2 FPN 512x512")
    assert (fast.ap, fast.fps) == (23.4, 166.67)


def test_models_are_timed_in_turns() -> None:
    calls: list[str] = []
    models = [
        Timed(Point(name, "g", 0.0, about="x"), lambda i, n=name: calls.append(n), nn.Linear(3, 1))
        for name in "ab"
    ]
    points = time_models(models, repeat=2)
    assert calls == ["a", "b"] * 5
    assert all(p.fps > 0 and p.spread and p.spread[0] <= p.fps <= p.spread[1] for p in points)
    assert points[0].about == "x, 0.0 M parameters"
