"""One optimizer step: micro-batches, mixed precision, processes, and a check of the losses."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from centernet2.engine.seeding import derive_seed, seed_generators

__all__ = ["MicroBatch", "NonFiniteLoss", "StepResult", "TrainStep"]


@dataclass
class MicroBatch:
    """What one forward pass saw: kept for messages, without the images themselves."""

    files: list[str]
    sizes: list[tuple[int, int]]  # (height, width) of each image in pixels, after augmentation
    losses: dict[str, float]


@dataclass
class StepResult:
    """Losses are means over micro-batches and processes; ``data_time`` is in seconds."""

    losses: dict[str, float]
    data_time: float
    stop: bool


class NonFiniteLoss(Exception):
    """A loss is NaN or infinite; the weights have not been changed by this step."""

    def __init__(self, losses: dict[str, float], batches: list[MicroBatch]) -> None:
        super().__init__(f"loss became NaN or infinite: {losses}")
        self.losses = losses
        self.batches = batches


class TrainStep:
    """Runs optimizer steps over batches of a loader.

    Args:
        model: maps a batch to a dict of scalar losses; wrapped in DistributedDataParallel when
            there are several processes.
        data_loader: an endless iterable of batches, read from when the first step runs.
        optimizer: stepped once per call of :meth:`run`.
        device: where the model is.
        amp_dtype: autocast precision; None: full precision.
        accumulation_steps: batches whose gradients are averaged for one step.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[list[dict[str, Any]]],
        optimizer: torch.optim.Optimizer,
        *,
        device: torch.device,
        amp_dtype: torch.dtype | None = None,
        accumulation_steps: int = 1,
    ) -> None:
        model.train()
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self.device = device
        self.amp_dtype = amp_dtype
        self.accumulation_steps = accumulation_steps
        # bfloat16 has the exponents of float32; only float16 gradients can underflow.
        self.scaler = torch.amp.GradScaler("cuda", enabled=amp_dtype is torch.float16)
        self.batches: list[MicroBatch] = []
        self._iterator: Iterator[list[dict[str, Any]]] | None = None

    def run(self, iteration: int, seed: int, stop: bool = False) -> StepResult:
        """Take one optimizer step.

        The losses reach the host once, when the backward pass has been queued, so the check costs
        no stall of the device; it comes before the optimizer, so a bad step changes no weight.

        Args:
            iteration: number of the step, from 0; with ``seed`` it seeds the model's own random
                choices, which makes a resumed run equal an uninterrupted one.
            seed: of the run.
            stop: whether this process asks all of them to stop after this step.

        Raises:
            NonFiniteLoss: in every process if a loss is not finite in any of them.
        """
        self.optimizer.zero_grad(set_to_none=True)
        self.batches = []
        data_time = 0.0
        rows = []
        names: list[str] = []
        for micro in range(self.accumulation_steps):
            start = time.perf_counter()
            batch = self._next_batch()
            data_time += time.perf_counter() - start
            self.batches.append(_describe(batch))
            seed_generators(
                derive_seed(seed, iteration * self.accumulation_steps + micro, 2 + comm.get_rank())
            )
            with self._gradient_sync(micro == self.accumulation_steps - 1):
                losses = self._forward(batch)
                total = torch.stack([v.float() for v in losses.values()]).sum()
                self.scaler.scale(total / self.accumulation_steps).backward()
            names = sorted(losses)
            rows.append(torch.stack([losses[name].detach().float() for name in names]))
        means, stop = self._reduce(rows, stop)
        result = dict(zip(names, means))
        if not all(map(math.isfinite, means)):
            for batch_info, row in zip(self.batches, rows):
                batch_info.losses = dict(zip(names, row.tolist()))
            raise NonFiniteLoss(result, self.batches)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return StepResult(result, data_time, stop)

    def close(self) -> None:
        """Stop reading, which ends the loader's processes: they do not end by a signal."""
        iterator, self._iterator = self._iterator, None
        if isinstance(iterator, Generator):
            iterator.close()

    def _next_batch(self) -> list[dict[str, Any]]:
        if self._iterator is None:
            self._iterator = iter(self.data_loader)
        return next(self._iterator)

    def _forward(self, batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        autocast = torch.autocast(
            self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None
        )
        with autocast:
            losses = self.model(batch)
        return {"total_loss": losses} if isinstance(losses, torch.Tensor) else losses

    def _gradient_sync(self, last: bool) -> AbstractContextManager[None]:
        if isinstance(self.model, DistributedDataParallel) and not last:
            return self.model.no_sync()
        return nullcontext()

    def _reduce(self, rows: list[torch.Tensor], stop: bool) -> tuple[list[float], bool]:
        mean = torch.stack(rows).mean(dim=0)
        if comm.get_world_size() == 1:
            return mean.tolist(), stop
        # One collective carries the losses and the wish to stop, so that all processes agree.
        summary = torch.cat([mean, mean.new_tensor([float(stop)])])
        dist.all_reduce(summary)
        values = summary.tolist()
        return [v / comm.get_world_size() for v in values[:-1]], values[-1] > 0


def _describe(batch: list[dict[str, Any]]) -> MicroBatch:
    files = [str(sample.get("file_name", "?")) for sample in batch]
    sizes = [tuple(s["image"].shape[-2:]) for s in batch if "image" in s]
    return MicroBatch(files, sizes, {})
