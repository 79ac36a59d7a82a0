"""Focal loss of a heatmap with Gaussian peaks (Objects as Points, eq. 1), dense or sparse."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

__all__ = ["heatmap_focal_loss", "sparse_heatmap_focal_loss"]

# Logits handled at once: temporaries stay small beside the logits, and on a CPU in its cache
CPU_CHUNK = 1 << 18
GPU_CHUNK = 1 << 24


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
        logits: raw scores of any shape; computed in float32 at least.
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
    flat = target.flatten()
    index = flat.nonzero()[:, 0]
    return sparse_heatmap_focal_loss(
        logits.flatten(),
        index,
        flat[index],
        pos_index,
        alpha=alpha,
        beta=beta,
        gamma=gamma,
        clamp=clamp,
        ignore_high_fp=ignore_high_fp,
    )


def sparse_heatmap_focal_loss(
    logits: torch.Tensor,
    target_index: torch.Tensor,
    target: torch.Tensor,
    pos_index: torch.Tensor,
    *,
    alpha: float = 0.25,
    beta: float = 4.0,
    gamma: float = 2.0,
    clamp: float = 1e-4,
    ignore_high_fp: float = -1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`heatmap_focal_loss` of a target that is given where it is not zero.

    All cells are taken for plain negatives first; those near objects are corrected. Besides the
    logits and their gradient it needs memory for one small chunk only, where the dense form holds
    the target and half a dozen maps of its size.

    Args:
        logits: ``(M,)`` raw scores; computed in float32 at least.
        target_index: ``(E,)`` int64, where the target is not zero; none twice.
        target: ``(E,)`` the target there, in [0, 1].
        pos_index: ``(P,)`` int64, indices of the positives; one that occurs twice counts twice.
        alpha, beta, gamma, clamp, ignore_high_fp: as for :func:`heatmap_focal_loss`.

    Returns:
        The sums over positives and negatives, scalars, not divided by the number of positives.
    """
    weight = (1 - _real(target)).pow(beta) - 1
    bound = math.log(1.0 / clamp - 1.0)
    positive, negative = _SparseFocal.apply(
        logits, target_index, weight, pos_index, gamma, bound, ignore_high_fp
    )
    if alpha >= 0:
        positive, negative = alpha * positive, (1 - alpha) * negative
    return positive, negative


class _SparseFocal(torch.autograd.Function):
    """Sums over positives and negatives; the gradient is written once, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        target_index: torch.Tensor,
        weight: torch.Tensor,
        pos_index: torch.Tensor,
        gamma: float,
        bound: float,
        ignore_high_fp: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.save_for_backward(logits, target_index, weight, pos_index)
        ctx.numbers = gamma, bound, ignore_high_fp

        everywhere = [_negative(x, *ctx.numbers).sum() for x in _chunks(logits)]
        near = _negative(logits[target_index], *ctx.numbers) * weight
        positive = _cost(-_real(logits[pos_index]).clamp(-bound, bound), gamma)
        return positive.sum(), torch.stack([*everywhere, near.sum()]).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_positive: torch.Tensor, d_negative: torch.Tensor) -> tuple[Any, ...]:
        logits, target_index, weight, pos_index = ctx.saved_tensors
        gamma, bound, _ = ctx.numbers
        # Not in half precision: near a peak the correction is nearly all of the gradient
        grad = torch.empty_like(logits, dtype=_real(logits[:0]).dtype)
        for x, out in zip(_chunks(logits), _chunks(grad)):
            out.copy_(d_negative * _negative_slope(x, *ctx.numbers))
        near = d_negative * _negative_slope(logits[target_index], *ctx.numbers) * weight
        grad.index_add_(0, target_index, near)
        at_positive = -_slope(-_real(logits[pos_index]).clamp(-bound, bound), gamma)
        grad.index_add_(0, pos_index, d_positive * at_positive)
        return (grad.to(logits.dtype), *[None] * 6)


def _negative(logits: torch.Tensor, gamma: float, bound: float, ignore: float) -> torch.Tensor:
    """What each cell costs as a plain negative."""
    x = _real(logits).clamp(-bound, bound)
    cost = _cost(x, gamma)
    return torch.where(torch.sigmoid(x) < ignore, cost, 0.0) if ignore > 0 else cost


def _negative_slope(
    logits: torch.Tensor, gamma: float, bound: float, ignore: float
) -> torch.Tensor:
    """Derivative of :func:`_negative`; that of the clamped value beyond the clamp too."""
    x = _real(logits).clamp(-bound, bound)
    slope = _slope(x, gamma)
    return torch.where(torch.sigmoid(x) < ignore, slope, 0.0) if ignore > 0 else slope


def _cost(x: torch.Tensor, gamma: float) -> torch.Tensor:
    """``-p^gamma * log(1 - p)`` with ``p = sigmoid(x)``; at ``-x``, what a positive costs."""
    return torch.sigmoid(x).pow(gamma) * F.softplus(x)


def _slope(x: torch.Tensor, gamma: float) -> torch.Tensor:
    """Derivative of :func:`_cost`."""
    p = torch.sigmoid(x)
    return p.pow(gamma) * (gamma * (1 - p) * F.softplus(x) + p)


def _real(x: torch.Tensor) -> torch.Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _chunks(flat: torch.Tensor) -> Iterator[torch.Tensor]:
    yield from flat.split(CPU_CHUNK if flat.device.type == "cpu" else GPU_CHUNK)
