"""The part of the work that is this process's, as torchrun says."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch

from centernet2.errors import UserError

__all__ = ["Shard"]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Shard:
    """One of ``world`` processes that share the work, on one machine or several.

    Attributes:
        rank: number of this process, from 0.
        world: number of processes.
        local_rank: number of this process on its machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Shard:
        """Read RANK, WORLD_SIZE and LOCAL_RANK; without them there is one process.

        Raises:
            UserError: they contradict each other or are no numbers.
        """
        if "RANK" not in environment and "WORLD_SIZE" not in environment:
            return cls()
        texts = [environment.get(name, "0") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
        if not all(text.isdigit() for text in texts) or not int(texts[0]) < int(texts[1]):
            raise UserError(
                "the environment has RANK={}, WORLD_SIZE={}, LOCAL_RANK={}: RANK must be a number "
                "from 0 to below WORLD_SIZE (torchrun sets them)".format(*texts)
            )
        return cls(*map(int, texts))

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.world == 1

    @property
    def title(self) -> str:
        """What tells this process's lines from the others', "" where there are none."""
        return "" if self.alone else f"[process {self.rank} of {self.world}]"

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """This process's share: every ``world``-th item."""
        return items[self.rank :: self.world]

    def device(self, wanted: str) -> str:
        """The device for this process: for "auto" or "cuda", a GPU of its own."""
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if self.alone or wanted not in ("auto", "cuda") or not gpus:
            return wanted
        return f"cuda:{self.local_rank % gpus}"
