from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from centernet2.benchmarks import growth
from centernet2.benchmarks.models import Contestant, Scene
from centernet2.benchmarks.targets import TargetCase

SMALL = Path(__file__).resolve().parents[2] / "configs/small/CenterNet2_MobileNetV2_pennfudan.yaml"


@pytest.mark.slow
def test_growth_is_measured_and_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "Scene", lambda size: Scene((64, 96)))
    monkeypatch.setattr(growth, "TargetCase", partial(TargetCase, size=(64, 96)))
    monkeypatch.setattr(growth, "SIZES", ((64, 96), (96, 160)))
    monkeypatch.setattr(growth, "BATCHES", (1, 2))
    monkeypatch.setattr(growth, "BOXES", (1, 3))
    monkeypatch.setattr(growth, "CLASSES", (1, 4))
    overrides = ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu"]
    axes = growth.measure_growth([Contestant(str(SMALL), ("fused",))], overrides, repeat=2)
    assert [axis.quantity for axis in axes] == [
        "image (megapixels)",
        "batch (images)",
        "objects of an image",
        "objects of an image",
        "classes",
    ]
    for axis in axes:
        assert len(axis.values) == 2
        for points in axis.curves.values():
            assert len(points) == 2 and all(p["median_s"] > 0 for p in points)
    figure = growth.draw_growth(axes)
    assert [len(plot.lines) for plot in figure.axes] == [1, 1, 1, 2, 2]
