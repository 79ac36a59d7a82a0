from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from centernet2.cli import chart

Run = Callable[..., tuple[int, str, str]]


def test_models_are_measured_and_drawn_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    monkeypatch.setattr(
        chart, "inference_step", lambda c, *_: built.append(c) or (lambda i: None, nn.Identity())
    )
    monkeypatch.setattr(chart.Trainer, "test", lambda cfg, model: {"bbox": {"AP": 61.5}})
    config = Path(chart.__file__).parents[2] / "configs/small/CenterNet2_MobileNetV2_bccd.yaml"
    points = tmp_path / "points.json"
    words = ["chart", "people=pedestrian", "--untrained", config, "--json", points]
    status, printed, _ = run(*words, "--repeat", "2", "--output", tmp_path / "a.png")
    assert status == 0
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert "people" in printed and "61.5" in printed
    assert [c.treatments for c in built] == [("fused",)] * 2
    rows = json.loads(points.read_text())["points"]
    assert [(row["name"], row["ap"]) for row in rows] == [
        ("people", 61.5),
        ("CenterNet2_MobileNetV2_bccd", None),
    ]
    assert rows[0]["group"].startswith("penn_fudan_val, ")
    status, printed, _ = run("chart", "--from", points, "--output", tmp_path / "b.svg")
    assert status == 0
    assert "61.5" in printed and (tmp_path / "b.svg").is_file()


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ("configs/points/ResNet-18_1x.yaml", (448, 640)),
        ("centernet2/model_zoo/coco-mobile/config.yaml", (512, 512)),
        ("configs/CenterNet2_R50_1x.yaml", (800, 1216)),
    ],
)
def test_untrained_models_see_images_of_their_usual_size(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: str,
    size: tuple[int, int],
) -> None:
    seen = []
    monkeypatch.setattr(
        chart, "inference_step", lambda *a: seen.append(a[3]) or (lambda i: None, nn.Identity())
    )
    path = Path(chart.__file__).parents[2] / config
    words = ["chart", "--untrained", f"mine={path}", "--repeat", "1"]
    status, printed, _ = run(*words, "--output", tmp_path / "a.html")
    assert status == 0
    assert printed.startswith("mine ")
    assert seen[0].size == size
    assert f"{size[0]}x{size[1]}" in printed


@pytest.mark.parametrize("content", ["{}", "[]", "no", '{"points": [{"name": 1}]}'])
def test_wrong_file_is_named(run: Run, tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    status, _, said = run("chart", "--from", tmp_path / "x.json", "--output", tmp_path / "a.png")
    assert status == 2
    assert "x.json cannot be read" in said


def test_nothing_to_draw_is_said(run: Run, tmp_path: Path) -> None:
    status, _, said = run("chart", "--output", tmp_path / "a.png")
    assert status == 2
    assert "name a model" in said


def test_ending_of_the_output_is_checked_first(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chart, "_measure", lambda *_: pytest.fail("measured in vain"))
    status, _, said = run("chart", "pedestrian", "--output", tmp_path / "a.png", tmp_path / "a.xyz")
    assert status == 2
    assert "a.xyz" in said
