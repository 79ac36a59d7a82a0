"""Two and four processes do what one does with the same images: real training and evaluation."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from centernet2.engine import launch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What ``distributed_run.main`` found, by number of processes."""
    folder = str(Path(__file__).parent)
    sys.path.insert(0, folder)  # which processes inherit
    try:
        run = importlib.import_module("distributed_run")
        data = tmp_path_factory.mktemp("data")
        run.write_data(data)
        found = {}
        for processes in (1, 2, 4):
            output = tmp_path_factory.mktemp("output")
            code = launch(run.main, run.arguments(data, output, processes))
            assert code == 0, f"{processes} processes ended with {code}"
            found[processes] = torch.load(output / "found.pt", weights_only=True)
    finally:
        sys.path.remove(folder)
    return found


@pytest.mark.parametrize("processes", [2, 4])
def test_losses_and_weights_are_those_of_one_process(
    runs: dict[int, dict[str, Any]], processes: int
) -> None:
    expected, found = runs[1], runs[processes]
    assert len(found["losses"]) == 3
    # Of later steps some have fewer objects than processes, and the number that the first stage's
    # losses are divided by is at least one a process, as published
    for name, value in expected["losses"][0].items():
        # A rounding may take a RoI over the IoU from which it counts as an object
        tolerance = 1e-3 if "centernet" in name else 1e-2
        assert found["losses"][0][name] == pytest.approx(value, rel=tolerance, abs=1e-6), name
    assert torch.equal(found["start"], expected["start"])
    learned = expected["end"] - expected["start"]
    assert learned.norm() > 0
    assert (found["end"] - expected["end"]).norm() < 0.02 * learned.norm()


@pytest.mark.parametrize("processes", [2, 4])
def test_all_processes_end_with_the_same_weights(
    runs: dict[int, dict[str, Any]], processes: int
) -> None:
    hashes = runs[processes]["hashes"]
    assert len(hashes) == processes
    assert all(own == hashes[0] for own in hashes)


def test_there_were_batches_with_objects_in_some_processes_only(
    runs: dict[int, dict[str, Any]],
) -> None:
    batches = list(zip(*runs[4]["positives"]))
    assert len(batches) == 6  # three steps of two
    assert any(0 in objects and any(objects) for objects in batches)
    assert [sum(objects) for objects in batches] == runs[1]["positives"][0]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_masks_train_where_a_process_has_no_objects(
    runs: dict[int, dict[str, Any]], processes: int
) -> None:
    losses = runs[processes]["mask losses"]
    assert len(losses) == 2
    assert all("loss_mask" in step and all(map(math.isfinite, step.values())) for step in losses)


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize(("images", "shards"), [("five", [[3, 2], [2, 1, 1, 1]]),
                                                ("three", [[2, 1], [1, 1, 1, 0]])])  # fmt: skip
def test_uneven_and_empty_shards_are_evaluated_as_by_one_process(
    runs: dict[int, dict[str, Any]], processes: int, images: str, shards: list[list[int]]
) -> None:
    found = runs[processes]
    seen = found["images"][images]
    assert [len(own) for own in seen] == shards[processes // 4]
    assert sorted(name for own in seen for name in own) == sorted(runs[1]["images"][images][0])
    metrics = runs[1]["metrics"][images]["bbox"]
    assert 10 < metrics["AP"] < 90
    assert found["metrics"][images]["bbox"] == pytest.approx(metrics, nan_ok=True)
