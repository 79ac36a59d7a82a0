"""Exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["ModelEma"]


class ModelEma:
    """A smoothed copy of a model's parameters and floating-point buffers.

    After update ``t`` the copy is ``d_t * copy + (1 - d_t) * model`` with
    ``d_t = decay * (1 - exp(-t / (warmup / 5)))``: near 0 at first, so that random early weights
    are forgotten, and within 1 % of ``decay`` after ``warmup`` updates. Running statistics of
    normalisation are averaged too, as they belong to the weights; integer buffers are copied.

    Args:
        model: the model in training (not wrapped in DistributedDataParallel).
        decay: limit of the decay, in [0, 1).
        warmup: updates until the decay is nearly reached; 0: at once.
    """

    def __init__(self, model: nn.Module, decay: float, warmup: int = 0) -> None:
        self._model = model
        self._decay = decay
        self._warmup = warmup
        self.updates = 0
        self._average: dict[str, torch.Tensor] = {}
        self._pairs: list[tuple[torch.Tensor, str]] = []
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Start again from the model's present weights."""
        self.updates = 0
        # A tensor that has several names (tied weights) gets one average under all of them.
        clones: dict[tuple[int, torch.Size], torch.Tensor] = {}
        self._average = {}
        self._pairs = []
        for name, value in self._model.state_dict().items():
            place = (value.data_ptr(), value.shape)
            if place not in clones:
                clones[place] = value.detach().clone()
                self._pairs.append((clones[place], name))
            self._average[name] = clones[place]

    def decay_at(self, update: int) -> float:
        """The decay of the ``update``-th update (from 1)."""
        if self._warmup <= 0:
            return self._decay
        growth = torch.expm1(torch.tensor(-5.0 * update / self._warmup, dtype=torch.float64))
        return -self._decay * growth.item()

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's weights after an optimizer step."""
        self.updates += 1
        weight = 1.0 - self.decay_at(self.updates)
        averages, values = [], []
        model = self._model.state_dict()
        for average, name in self._pairs:
            value = model[name]
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        torch._foreach_lerp_(averages, values, weight)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The averaged weights, under the model's own names."""
        return dict(self._average)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, torch.Tensor], updates: int) -> None:
        """Restore averaged weights; names absent from ``state`` restart from the model."""
        self.reset()
        for name, average in self._average.items():
            if name in state and state[name].shape == average.shape:
                average.copy_(state[name])
        self.updates = updates

    @contextmanager
    def applied(self) -> Iterator[nn.Module]:
        """Let the model carry the averaged weights inside the context."""
        self._exchange()
        try:
            yield self._model
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        model = self._model.state_dict()
        for average, name in self._pairs:
            value = model[name]
            kept = value.clone()
            value.copy_(average)
            average.copy_(kept)
