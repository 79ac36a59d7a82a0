"""The mappers that are timed draw the same; the figures belong to the right one."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

import benchmark_loader
from centernet2.engine import build_cfg


@pytest.mark.parametrize("case", benchmark_loader.CASES)
def test_the_contestants_give_the_same_samples(case: str, two_images: str) -> None:
    mappers = benchmark_loader.contestants(build_cfg(overrides=benchmark_loader.CASES[case]))
    assert list(mappers)[-1] == benchmark_loader.PEER
    record = DatasetCatalog.get(two_images)[0]
    samples = {}
    for name, mapper in mappers.items():
        np.random.seed(3)  # noqa: NPY002
        samples[name] = mapper(record)
    shapes = {sample["image"].shape for sample in samples.values()}
    assert len(shapes) == 1
    assert "instances" in samples[benchmark_loader.OURS]
    assert "instances" not in samples[benchmark_loader.FLOOR]


@pytest.mark.parametrize("workers", [0, 1])
def test_seconds_belong_to_their_mapper(workers: int) -> None:
    def slow(record: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.03)
        return record

    mappers = {"quick": lambda record: record, benchmark_loader.PEER: slow}
    times = benchmark_loader.measure(mappers, [{"a": 1}, {"a": 2}], rounds=3, workers=workers)
    assert {len(taken) for taken in times.values()} == {3}
    # sleeping takes no CPU time, and never less than asked for
    assert all(seconds.wall >= 0.03 for seconds in times[benchmark_loader.PEER])
    rows = benchmark_loader.summary(times)
    assert rows[benchmark_loader.PEER]["wall_ratio"] == 1


def test_ratios_are_those_of_each_round() -> None:
    times = {
        "ours": [benchmark_loader.Seconds(cpu, 1.0) for cpu in (1.0, 2.0, 9.0)],
        benchmark_loader.PEER: [benchmark_loader.Seconds(cpu, 1.0) for cpu in (2.0, 6.0, 9.0)],
    }
    row = benchmark_loader.summary(times)["ours"]
    assert row["cpu_ms"] == 2000
    assert row["cpu_ratio"] == 2
    assert row["cpu_ratio_range"] == [1, 3]
    assert row["wall_ratio"] == 1


def test_command(tmp_path: Path, two_images: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.json"
    arguments = [two_images, "--cases", "crop-640", "--rounds", "1", "--json", str(file)]
    assert benchmark_loader.main(arguments) == 0
    result = json.loads(file.read_text())
    figures = result["cases"]["crop-640"]
    assert figures["pixel_difference"]["greatest"] <= 2
    assert figures["workers_0"][benchmark_loader.PEER]["cpu_ratio"] == 1
    assert figures["workers_0"][benchmark_loader.OURS]["rounds"] == 1
    out = capsys.readouterr().out
    assert "crop-640: 2 images" in out
    assert result["machine"]["torch"] in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no data set 'nowhere' is registered"),
        (["two_images", "--rounds", "0"], "--rounds"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], message: str, two_images: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark_loader.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
