from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Run = Callable[..., tuple[int, str, str]]


def test_environment_and_shipped_models_are_listed(run: Run) -> None:
    status, printed, _ = run("info")
    assert status == 0
    assert "PyTorch" in printed
    assert printed.endswith("Shipped models: coco-mobile, pedestrian.\n")


def test_model_is_described(run: Run, model: Path) -> None:
    status, printed, _ = run("info", model)
    assert status == 0
    lines = dict(line.split("  ", 1) for line in printed.splitlines())
    described = {name: text.strip() for name, text in lines.items()}
    assert described["architecture"] == "CenterNetDetector (one stage)"
    assert described["finds"] == "boxes"
    assert described["classes"] == "2: class 0, class 1"
    assert described["input"].endswith("the shorter side of 64 pixels, the longer at most 96")
    assert described["weights"] == str(model / "model_final.pth")


def test_shipped_model_is_described(run: Run) -> None:
    _, printed, _ = run("info", "pedestrian")
    assert "boxes and masks" in printed
    assert "1: person" in printed
    assert "two stages" in printed
    assert "6.4 million" in printed


def test_unknown_model_is_one_sentence(run: Run) -> None:
    status, _, said = run("info", "cats")
    assert status == 2
    assert said.startswith("error: there is no model 'cats'")
