"""One optimizer step: micro-batches, mixed precision, processes, and a check of the losses."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from detectron2.engine import create_ddp_model
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from centernet2.engine.seeding import derive_seed, seed_generators

__all__ = ["MicroBatch", "NonFiniteLoss", "StepResult", "TrainStep", "distributed"]


@dataclass
class MicroBatch:
    """What one forward pass saw: kept for messages, without the images themselves."""

    files: list[str]
    sizes: list[tuple[int, int]]  # (height, width) of each image in pixels, after augmentation
    losses: dict[str, float]
    # Those of the files whose pixels, after augmentation, are not finite
    not_finite: list[str] = field(default_factory=list)


@dataclass
class StepResult:
    """Losses are means over micro-batches and processes; ``data_time`` is in seconds."""

    losses: dict[str, float]
    data_time: float
    stop: bool


class NonFiniteLoss(Exception):
    """A loss or a gradient is NaN or infinite; this step has not changed the weights.

    Attributes:
        losses: means over micro-batches and processes.
        batches: of this process.
        gradients: names of the parameters whose gradients are not finite, if all losses are.
        stop: whether some process asked all of them to stop after this step.
    """

    def __init__(
        self,
        losses: dict[str, float],
        batches: list[MicroBatch],
        gradients: list[str],
        stop: bool,
    ) -> None:
        super().__init__(f"a loss or gradient became NaN or infinite: {losses}")
        self.losses = losses
        self.batches = batches
        self.gradients = gradients
        self.stop = stop


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
        keep_buffers: undo what a step that fails has changed in the model's buffers, so that
            training can go on after it.
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
        keep_buffers: bool = False,
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
        self._trained = [p for p in model.parameters() if p.requires_grad and p.numel()]
        self._buffers = list(model.buffers()) if keep_buffers else []
        self._iterator: Iterator[list[dict[str, Any]]] | None = None

    def run(self, iteration: int, seed: int, stop: bool = False) -> StepResult:
        """Take one optimizer step.

        The losses reach the host once, when the backward pass has been queued, so the check costs
        no stall of the device; it comes before the optimizer, so a bad step changes no weight. The
        largest gradient comes with them: a finite loss can have an infinite one. (In float16 the
        scaler looks for those.)

        Args:
            iteration: number of the step, from 0; with ``seed`` it seeds the model's own random
                choices, which makes a resumed run equal an uninterrupted one.
            seed: of the run.
            stop: whether this process asks all of them to stop after this step.

        Raises:
            NonFiniteLoss: in every process if a loss or gradient is not finite in any of them.
        """
        self.optimizer.zero_grad(set_to_none=True)
        self.batches = []
        data_time = 0.0
        rows = []
        names: list[str] = []
        images = []
        kept = [buffer.clone() for buffer in self._buffers]
        for micro in range(self.accumulation_steps):
            start = time.perf_counter()
            batch = self._next_batch()
            data_time += time.perf_counter() - start
            self.batches.append(_describe(batch))
            images.append(batch)
            seed_generators(
                derive_seed(seed, iteration * self.accumulation_steps + micro, 2 + comm.get_rank())
            )
            with self._gradient_sync(micro == self.accumulation_steps - 1):
                try:
                    losses = self._forward(batch)
                except Exception:
                    self.batches[-1].not_finite = _not_finite(batch)
                    self._restore(kept)
                    raise
                total = torch.stack([v.float() for v in losses.values()]).sum()
                self.scaler.scale(total / self.accumulation_steps).backward()
            names = sorted(losses)
            rows.append(torch.stack([losses[name].detach().float() for name in names]))
        means, gradient, stop = self._reduce(rows, stop)
        result = dict(zip(names, means))
        finite = all(map(math.isfinite, means))
        if not finite or not math.isfinite(gradient):
            for batch_info, row, batch in zip(self.batches, rows, images):
                batch_info.losses = dict(zip(names, row.tolist()))
                batch_info.not_finite = _not_finite(batch)
            self._restore(kept)
            raise NonFiniteLoss(result, self.batches, self._bad_gradients() if finite else [], stop)
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

    def _reduce(self, rows: list[torch.Tensor], stop: bool) -> tuple[list[float], float, bool]:
        mean = torch.stack(rows).mean(dim=0)
        summary = torch.cat([mean, self._largest_gradient(mean)])
        if comm.get_world_size() == 1:
            *means, gradient = summary.tolist()
            return means, gradient, stop
        # One collective carries all of it and the wish to stop, so that all processes agree.
        summary = torch.cat([summary, mean.new_tensor([float(stop)])])
        dist.all_reduce(summary)
        *means, gradient, stops = summary.tolist()
        return [v / comm.get_world_size() for v in means], gradient, stops > 0

    def _largest_gradient(self, like: torch.Tensor) -> torch.Tensor:
        gradients = [p.grad for p in self._trained if p.grad is not None]
        if self.scaler.is_enabled() or not gradients:
            return like.new_zeros(1)
        largest = torch._foreach_norm(gradients, math.inf)
        return torch.stack([value.float() for value in largest]).amax(dim=0, keepdim=True)

    def _restore(self, kept: list[torch.Tensor]) -> None:
        for buffer, former in zip(self._buffers, kept):
            buffer.copy_(former)

    def _bad_gradients(self) -> list[str]:
        return [
            name.removeprefix("module.")
            for name, p in self.model.named_parameters()
            if p.grad is not None and not torch.isfinite(p.grad).all()
        ]


def distributed(model: nn.Module, device: torch.device) -> nn.Module:
    """A model in DistributedDataParallel if there are several processes, else as it is."""
    # Detectron2 passes device_ids even for the CPU, which DistributedDataParallel refuses.
    options = {} if device.type == "cuda" else {"device_ids": None}
    return create_ddp_model(model, broadcast_buffers=False, **options)


def _describe(batch: list[dict[str, Any]]) -> MicroBatch:
    files = [str(sample.get("file_name", "?")) for sample in batch]
    sizes = [tuple(s["image"].shape[-2:]) for s in batch if "image" in s]
    return MicroBatch(files, sizes, {})


def _not_finite(batch: list[dict[str, Any]]) -> list[str]:
    return [
        str(sample.get("file_name", "?"))
        for sample in batch
        if "image" in sample and not torch.isfinite(sample["image"]).all()
    ]
