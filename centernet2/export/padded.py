"""Tensors long enough for a number of best values, however small the map that they come from."""

from __future__ import annotations

import torch
import torch.nn.functional as F

__all__ = ["padded"]


def padded(values: torch.Tensor, number: int) -> torch.Tensor:
    """With -1 behind the last dimension, so that ``number`` can be taken from any size of map."""
    return F.pad(values, (0, number), value=-1.0)
