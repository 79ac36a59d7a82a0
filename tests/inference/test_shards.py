from __future__ import annotations

import pytest
import torch

from centernet2.errors import UserError
from centernet2.inference.shards import Shard


def test_environment_of_torchrun_is_read() -> None:
    environment = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    assert Shard.from_environment(environment) == Shard(5, 8, 1)
    assert Shard.from_environment({}) == Shard(0, 1, 0)
    assert Shard.from_environment({"RANK": "1", "WORLD_SIZE": "2"}) == Shard(1, 2, 0)


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "8", "WORLD_SIZE": "8"},
        {"RANK": "1"},
        {"RANK": "-1", "WORLD_SIZE": "2"},
        {"RANK": "one", "WORLD_SIZE": "2"},
    ],
)
def test_contradictions_are_told(environment: dict[str, str]) -> None:
    with pytest.raises(UserError, match="RANK must be a number from 0 to below WORLD_SIZE"):
        Shard.from_environment(environment)


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_every_item_is_one_process_s(world: int) -> None:
    parts = [Shard(rank, world).part(range(7)) for rank in range(world)]
    assert sorted(item for part in parts for item in part) == list(range(7))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_each_process_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert Shard(6, 8, 2).device("auto") == "cuda:2"
    assert Shard(6, 8, 2).device("cpu") == "cpu"
    assert Shard(6, 8, 2).device("cuda:1") == "cuda:1"
    assert Shard().device("auto") == "auto"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Shard(6, 8, 2).device("auto") == "auto"
