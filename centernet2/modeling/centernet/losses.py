"""Losses of the CenterNet head (report section 2; spec of each term in its own docstring)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...layers import distance_box_loss, heatmap_focal_loss

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
    logits: torch.Tensor,
    heatmap: torch.Tensor,
    pos_index: torch.Tensor,
    num_pos: torch.Tensor | float,
    params: LossParams,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Focal losses of a heatmap at its positives and everywhere else.

    Args:
        logits: ``(B * M, C)``.
        heatmap: ``(B * M, C)`` targets in [0, 1].
        pos_index: ``(P,)`` indices into ``logits.flatten()``.
        num_pos: positives a process, averaged over the processes, at least 1.
        params: see :class:`LossParams`.
    """
    positive, negative = heatmap_focal_loss(
        logits,
        heatmap,
        pos_index,
        alpha=params.focal_alpha,
        beta=params.focal_beta,
        gamma=params.focal_gamma,
        clamp=params.sigmoid_clamp,
        ignore_high_fp=params.ignore_high_fp,
    )
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
