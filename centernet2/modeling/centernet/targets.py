"""Which cell learns what: targets of the CenterNet head (report section 2).

Everything is expressed as flat (cell, box) pairs. A box takes part only in the cells near its
centre, so memory grows with cells + boxes and not with cells x boxes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .box_batch import BoxBatch, TargetParams, gather_boxes
from .grid import Grid, cell_index
from .heatmap import Peaks, draw_peaks

__all__ = ["CenterNetTargets", "assign_targets", "neighbourhood", "side_distances"]


@dataclass(frozen=True)
class CenterNetTargets:
    """What the head learns from a batch. Cells are indices into the ``B * M`` cells of the batch.

    Attributes:
        pos_index: ``(P,)`` int64 cells of heatmap positives, one entry a box and level.
        pos_class: ``(P,)`` int64 their classes.
        peaks: the heatmaps of the classes; one of class 0 for class-agnostic targets.
        heatmap: ``(B * M,)`` float32, their largest value at each cell.
        reg_index: ``(R,)`` int64 cells that learn a box.
        reg_target: ``(R, 4)`` float32 l, t, r, b in units of the cell's stride.
        reg_weight: ``(R,)`` float32, ``heatmap`` at those cells.
        batch: the boxes that all this was made from.
    """

    pos_index: torch.Tensor
    pos_class: torch.Tensor
    peaks: Peaks
    heatmap: torch.Tensor
    reg_index: torch.Tensor
    reg_target: torch.Tensor
    reg_weight: torch.Tensor
    batch: BoxBatch


def assign_targets(
    grid: Grid,
    boxes_per_image: Sequence[torch.Tensor],
    classes_per_image: Sequence[torch.Tensor] | None,
    num_classes: int,
    params: TargetParams,
    image_sizes: Sequence[tuple[int, int]] | None = None,
) -> CenterNetTargets:
    """Targets of a batch.

    Args:
        grid: the cells of one image (all images of a batch share it).
        boxes_per_image: ``(N_i, 4)`` XYXY boxes in pixels.
        classes_per_image: ``(N_i,)`` classes below ``num_classes``; None for class-agnostic maps.
        num_classes: channels of the heatmap; 1 for class-agnostic maps.
        params: see :class:`TargetParams`.
        image_sizes: (height, width) of each image: centres outside are moved inside first, for
            boxes that may stick out of a crop. None if all centres are inside.
    """
    batch = gather_boxes(grid, boxes_per_image, classes_per_image, params, image_sizes)
    num_images = len(boxes_per_image)
    peaks = draw_peaks(grid, batch, num_images, num_classes)
    heatmap = torch.zeros(num_images * grid.num_cells, device=grid.locations.device)
    heatmap.scatter_reduce_(0, peaks.cell, peaks.value, "amax")
    reg_index, reg_target = regression_targets(grid, batch, num_images)

    box, level = torch.nonzero(batch.cared & batch.in_grid, as_tuple=True)
    return CenterNetTargets(
        pos_index=cell_index(grid, batch.image[box], level, batch.cell[box, level]),
        pos_class=batch.classes[box],
        peaks=peaks,
        heatmap=heatmap,
        reg_index=reg_index,
        reg_target=reg_target,
        reg_weight=heatmap[reg_index],
        batch=batch,
    )


def regression_targets(
    grid: Grid, batch: BoxBatch, num_images: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cells that learn a box, and what they learn.

    A cell learns a box when the level cares for the box, the cell is one of the 3x3 around the
    box's centre cell and its location is strictly inside the box; among several such boxes, the
    one whose peak is highest there, the first of equals.

    Returns:
        ``(R,)`` cells and ``(R, 4)`` distances l, t, r, b in units of the stride.
    """
    box, level, cell, inside = neighbourhood(grid, batch, batch.cared)
    distances = side_distances(grid, batch, box, level, cell)
    keep = inside & (distances.amin(dim=1) > 0)
    box, level, cell, distances = box[keep], level[keep], cell[keep], distances[keep]

    index = cell_index(grid, batch.image[box], level, cell)
    d2 = _distance2(grid, batch, box, level, cell)
    num_cells, num_boxes = num_images * grid.num_cells, len(batch.boxes)
    best_d2 = d2.new_full((num_cells,), math.inf).scatter_reduce_(0, index, d2, "amin")
    best = d2 == best_d2[index]
    first = box.new_full((num_cells,), num_boxes)
    first = first.scatter_reduce_(0, index[best], box[best], "amin")
    best &= box == first[index]
    return index[best], distances[best] / grid.level_strides[level[best]][:, None]


def neighbourhood(
    grid: Grid, batch: BoxBatch, wanted: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The 3x3 cells around the centre cells of the wanted (box, level) pairs.

    Args:
        wanted: ``(N, L)`` bool.

    Returns:
        For ``Q = 9 * wanted.sum()`` triples: box ``(Q,)``, level ``(Q,)``, cell ``(Q, 2)`` as
        column and row (a valid one, clamped into the grid), and whether it was in the grid.
    """
    box, level = torch.nonzero(wanted, as_tuple=True)
    step = torch.arange(-1, 2, device=box.device)
    around = torch.cartesian_prod(step, step).flip(1)  # row by row, (column, row)
    cell = (batch.cell[box, level][:, None] + around).view(-1, 2)
    box, level = box.repeat_interleave(9), level.repeat_interleave(9)
    last = torch.stack([grid.widths[level], grid.heights[level]], dim=1) - 1
    valid = cell.clamp(min=0).minimum(last)
    return box, level, valid, (cell == valid).all(dim=1)


def _distance2(
    grid: Grid, batch: BoxBatch, box: torch.Tensor, level: torch.Tensor, cell: torch.Tensor
) -> torch.Tensor:
    """Squared distance of cells to box centres in units of the peak's radius; 0 at centre cells."""
    d2 = (_location(grid, level, cell) - batch.centers[box]).square().sum(dim=1)
    at_center = (cell == batch.cell[box, level]).all(dim=1)
    return torch.where(at_center, 0.0, d2 * batch.inv_radius2[box])


def side_distances(
    grid: Grid, batch: BoxBatch, box: torch.Tensor, level: torch.Tensor, cell: torch.Tensor
) -> torch.Tensor:
    """Distances l, t, r, b in pixels from cells to the sides of boxes."""
    location = _location(grid, level, cell)
    return torch.cat([location - batch.boxes[box, :2], batch.boxes[box, 2:] - location], dim=1)


def _location(grid: Grid, level: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
    stride = grid.level_strides[level][:, None]
    return (cell * stride + torch.div(stride, 2, rounding_mode="floor")).to(torch.float32)
