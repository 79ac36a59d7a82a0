"""Extra heatmap positives, chosen by how well their cells already regress the box (MORE_POS)."""

from __future__ import annotations

import math

import torch

from ...layers import box_loss_per_location
from .box_batch import BoxBatch
from .grid import Grid, cell_index
from .targets import neighbourhood, side_distances

__all__ = ["more_positives"]


@torch.no_grad()
def more_positives(
    grid: Grid,
    batch: BoxBatch,
    box_pred: torch.Tensor,
    *,
    threshold: float,
    topk: int,
    kind: str = "giou",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positives that replace the plain centre cells.

    For every box and *every* level, the 9 cells around the centre cell that exist and whose
    location is in the box (sides included) are candidates. Their cost is the regression loss of
    the current prediction; the centre cell at the box's own levels costs nothing. Kept are the
    candidates cheaper than both ``threshold`` and the box's ``topk``-th cheapest.

    Args:
        grid: cells of an image.
        batch: the boxes, from :func:`gather_boxes`.
        box_pred: ``(B * M, 4)`` predicted l, t, r, b in units of the stride.
        threshold: upper limit of the cost.
        topk: rank of the candidate that limits the cost.
        kind: regression loss, see :func:`box_loss_per_location`.

    Returns:
        ``(P,)`` cells of the batch and ``(P,)`` classes.
    """
    num_boxes, num_levels = batch.cared.shape
    box, level, cell, in_grid = neighbourhood(grid, batch, torch.ones_like(batch.cared))
    stride = grid.level_strides[level][:, None]
    target = side_distances(grid, batch, box, level, cell) / stride
    candidate = in_grid & (target.amin(dim=1) >= 0)

    index = cell_index(grid, batch.image[box], level, cell)
    cost = box_loss_per_location(box_pred[index], target.clamp(min=0), kind)
    is_center = (cell == batch.cell[box, level]).all(dim=1) & batch.cared[box, level]
    cost = torch.where(is_center, 0.0, cost)
    cost = torch.where(candidate, cost, math.inf).view(num_boxes, num_levels * 9)

    limit = cost.new_full((num_boxes, 1), threshold)
    if num_boxes and topk <= cost.shape[1]:
        limit = limit.minimum(cost.kthvalue(topk, dim=1, keepdim=True).values)
    chosen = (cost < limit).flatten()
    return index[chosen], batch.classes[box[chosen]]
