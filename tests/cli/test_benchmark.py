from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from centernet2.benchmarks.timing import Times
from centernet2.cli import benchmark

Run = Callable[..., tuple[int, str, str]]


def test_figures_are_printed_and_written(run: Run, tmp_path: Path) -> None:
    words = ["benchmark", "targets", "--size", "64", "96", "--boxes", "3", "--classes", "1", "4"]
    status, printed, _ = run(*words, "--repeat", "2", "--json", tmp_path / "out.json")
    assert status == 0
    assert "heatmap loss of 2 x 3 boxes, 4 classes" in printed
    written = json.loads((tmp_path / "out.json").read_text())
    assert len(written["cases"]) == 4 and written["machine"]["threads"] >= 1
    assert all(row["median_s"] > 0 and row["rounds"] == 2 for row in written["cases"].values())


def test_models_are_compared_with_the_last(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "inference_step", lambda *_: (lambda i: None, nn.Identity()))
    times = {"a": Times([2.0] * 3, [1.0] * 3), "b": Times([4.0] * 3, [4.0] * 3)}
    monkeypatch.setattr(benchmark, "measure", lambda steps, repeat: times)
    words = ["benchmark", "inference", "a.yaml", "b.yaml", "--json", tmp_path / "out.json"]
    status, printed, _ = run(*words)
    assert status == 0
    assert "x0.50, CPU x0.25" in printed and "x1.00" in printed
    models = json.loads((tmp_path / "out.json").read_text())["models"]
    assert models["a"]["ratio_to_last"] == 0.5
    assert models["b"]["median_s"] == 4


@pytest.mark.parametrize("mode", ["inference", "train", "stages", "growth"])
def test_models_must_be_named(run: Run, mode: str) -> None:
    status, _, said = run("benchmark", mode)
    assert status == 2
    assert "name a config file" in said


def test_ending_of_the_plot_is_checked_first(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "measure_growth", lambda *_: pytest.fail("measured in vain"))
    status, _, said = run("benchmark", "growth", "a.yaml", "--plot", tmp_path / "a.xyz")
    assert status == 2
    assert "a.xyz" in said


def test_mistake_is_one_sentence(run: Run) -> None:
    status, _, said = run("benchmark", "inference", "absent.yaml")
    assert status == 2
    assert said.startswith("error: ")
    assert "absent.yaml" in said
