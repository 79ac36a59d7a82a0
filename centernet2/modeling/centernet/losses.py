"""Losses of the CenterNet head (report section 2; spec of each term in its own docstring)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...layers import distance_box_loss, sparse_heatmap_focal_loss
from .grid import Grid, split_levels
from .heatmap import Peaks

__all__ = ["LossParams", "box_regression_loss", "heatmap_losses"]


@dataclass(frozen=True)
class LossParams:
    """Weights and shapes of the losses; the fields are the config keys of the same names."""

    pos_weight: float = 1.0
    neg_weight: float = 1.0
    reg_weight: float = 2.0
    focal_alpha: float = 0.25
    focal_beta: float = 4.0
    focal_gamma: float = 2.0
    sigmoid_clamp: float = 1e-4
    ignore_high_fp: float = -1.0
    loc_loss_type: str = "giou"
    not_norm_reg: bool = True


def heatmap_losses(
    grid: Grid,
    maps: Sequence[torch.Tensor],
    peaks: Peaks,
    pos_cell: torch.Tensor,
    pos_channel: torch.Tensor,
    num_pos: torch.Tensor | float,
    params: LossParams,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Focal losses of heatmaps at their positives and everywhere else.

    The maps stay where the head left them: neither they nor their targets are put together, which
    for 1,203 classes would be most of the memory of a step.

    Args:
        grid: the cells of one image.
        maps: ``(B, C, H_l, W_l)`` logits of each level.
        peaks: targets of the cells near objects.
        pos_cell, pos_channel: ``(P,)`` positives: cells of the batch, channels.
        num_pos: positives a process, averaged over the processes, at least 1.
        params: see :class:`LossParams`.
    """
    channels = maps[0].shape[1]
    targets = split_levels(grid, peaks.cell, peaks.channel, channels)
    positives = split_levels(grid, pos_cell, pos_channel, channels)
    sums = [
        sparse_heatmap_focal_loss(
            logits.flatten(),
            index,
            peaks.value[which],
            pos_index,
            alpha=params.focal_alpha,
            beta=params.focal_beta,
            gamma=params.focal_gamma,
            clamp=params.sigmoid_clamp,
            ignore_high_fp=params.ignore_high_fp,
        )
        for logits, (which, index), (_, pos_index) in zip(maps, targets, positives)
    ]
    positive, negative = (torch.stack(terms).sum() for terms in zip(*sums))
    return params.pos_weight * positive / num_pos, params.neg_weight * negative / num_pos


def box_regression_loss(
    box_pred: torch.Tensor,
    reg_target: torch.Tensor,
    reg_weight: torch.Tensor,
    norm: torch.Tensor | float,
    params: LossParams,
) -> torch.Tensor:
    """IoU loss over the cells that learn a box.

    Args:
        box_pred: ``(R, 4)`` predicted l, t, r, b in units of the stride.
        reg_target: ``(R, 4)`` their targets.
        reg_weight: ``(R,)`` heatmap values of the cells, or ones.
        norm: sum of the weights, averaged over the processes, at least 1.
        params: see :class:`LossParams`.
    """
    loss = distance_box_loss(box_pred, reg_target, reg_weight, params.loc_loss_type)
    return params.reg_weight * loss / norm
