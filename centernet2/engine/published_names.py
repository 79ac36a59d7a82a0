"""Names of published checkpoints whose models have no parts, as those of our models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["adopt_names"]

# A weight of every file of keypoint triplets (CenterNet of 2019) and CornerNet
_FLAT_HOURGLASS = "pre.0.conv.weight"
_PARTS = ("backbone.", "heads.")
_COUNTER, _MEAN = "num_batches_tracked", "running_mean"


def adopt_names(weights: dict[str, Any], state: Mapping[str, torch.Tensor]) -> None:
    """Put the model's parts in front of the names of a published file of hourglasses, in place.

    PyTorch before 0.4.1 did not count the batches of a normalisation; where the file is so old the
    counters are set to 0, as nothing reads them.

    Args:
        weights: of a file, arrays or tensors by name; other files stay as they are.
        state: of the model.
    """
    if _FLAT_HOURGLASS not in weights or f"backbone.{_FLAT_HOURGLASS}" not in state:
        return
    for name in list(weights):
        ours = [part + name for part in _PARTS if part + name in state]
        if name not in state and ours:
            weights[ours[0]] = weights.pop(name)
    for name, value in state.items():
        counts = name.endswith(_COUNTER) and name[: -len(_COUNTER)] + _MEAN in weights
        if counts and name not in weights:
            weights[name] = torch.zeros_like(value, device="cpu")
