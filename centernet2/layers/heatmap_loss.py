"""Focal loss of a heatmap with Gaussian peaks (Objects as Points, eq. 1)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

__all__ = ["heatmap_focal_loss"]


class _ClampStraightThrough(torch.autograd.Function):
    """Clamp in the forward pass only, so that saturated logits still receive a gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return grad, None, None


def heatmap_focal_loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    pos_index: torch.Tensor,
    *,
    alpha: float = 0.25,
    beta: float = 4.0,
    gamma: float = 2.0,
    clamp: float = 1e-4,
    ignore_high_fp: float = -1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Penalty-reduced focal loss, positives and negatives apart.

    With ``p = sigmoid(logits)`` clamped to ``[clamp, 1 - clamp]`` and ``t`` the target::

        positive = -alpha       * sum over pos_index of (1 - p)^gamma * log(p)
        negative = -(1 - alpha) * sum over all cells of p^gamma * (1 - t)^beta * log(1 - p)

    A cell with ``t = 1`` costs nothing as a negative, whether or not it is a positive.

    Args:
        logits: ``(M,)`` or ``(M, C)`` raw scores; computed in float32 at least.
        target: same shape, in [0, 1].
        pos_index: ``(P,)`` int64, indices of the positives in ``logits.flatten()``; an index that
            occurs twice counts twice.
        alpha: weight of positives against negatives; negative for no weighting.
        beta: how fast the penalty falls near a peak.
        gamma: focusing exponent.
        clamp: see above. The value is clamped, the gradient is not cut.
        ignore_high_fp: negatives with ``p`` at or above it cost nothing; ``<= 0`` switches it off.

    Returns:
        The two sums, scalars, not divided by the number of positives.
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    bound = math.log(1.0 / clamp - 1.0)
    # sigmoid(x.clamp(+-bound)) is sigmoid(x) clamped to [clamp, 1 - clamp]
    x = _ClampStraightThrough.apply(logits.flatten(), -bound, bound)

    x_pos = x[pos_index]
    positive = -(torch.sigmoid(-x_pos).pow(gamma) * F.logsigmoid(x_pos)).sum()

    p = torch.sigmoid(x)
    weight = (1 - target.flatten().to(x.dtype)).pow(beta)
    if ignore_high_fp > 0:
        weight = weight * (p < ignore_high_fp)
    negative = -(p.pow(gamma) * F.logsigmoid(-x) * weight).sum()

    if alpha >= 0:
        positive, negative = alpha * positive, (1 - alpha) * negative
    return positive, negative
