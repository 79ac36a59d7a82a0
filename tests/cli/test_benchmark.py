from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from centernet2.cli import benchmark

Run = Callable[..., tuple[int, str, str]]


def test_models_are_timed_in_turns() -> None:
    calls: list[tuple[str, int]] = []
    steps = {
        "a": lambda i: calls.append(("a", i)),
        "b": lambda i: calls.append(("b", i)),
    }
    times = benchmark.measure(steps, 4)
    rounds = benchmark.WARM_UP + 4
    assert calls == [(name, i) for i in range(rounds) for name in ("a", "b")]
    assert {name: len(values) for name, values in times.items()} == {"a": 4, "b": 4}
    assert min(times["a"] + times["b"]) >= 0


def test_figures_are_printed_and_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "prepare", lambda *args: lambda i: None)
    monkeypatch.setattr(
        benchmark, "measure", lambda steps, repeat: {"a": [2.0, 2.0, 2.0], "b": [4.0, 4.0, 4.0]}
    )
    words = ["benchmark", "inference", "a.yaml", "b.yaml", "--json", tmp_path / "out.json"]
    status, printed, _ = run(*words)
    assert status == 0
    assert "x0.50" in printed and "x1.00" in printed
    models = json.loads((tmp_path / "out.json").read_text())["models"]
    assert models["a"]["ratio_to_last"] == 0.5
    assert models["b"]["median_s"] == 4


def test_mistake_is_one_sentence(run: Run) -> None:
    status, _, said = run("benchmark", "inference", "absent.yaml")
    assert status == 2
    assert said.startswith("error: ")
    assert "absent.yaml" in said
