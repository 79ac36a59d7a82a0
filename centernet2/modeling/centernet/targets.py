"""Which cell learns what: targets of the CenterNet head (report section 2).

Everything is expressed as flat (cell, box) pairs. A box takes part only in the cells near its
centre, so memory grows with cells + boxes and not with cells x boxes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from .grid import Grid

__all__ = [
    "BoxBatch",
    "CenterNetTargets",
    "TargetParams",
    "assign_targets",
    "cell_index",
    "gather_boxes",
    "neighbourhood",
    "side_distances",
]

# Heatmap values below this are 0, so a peak ends where d2 exceeds -log of it
HEATMAP_FLOOR = 1e-4
# Cells handled at once while drawing heatmaps; bounds the memory that crowded images take
MAX_CELLS_PER_CHUNK = 4_000_000


@dataclass(frozen=True)
class TargetParams:
    """Numbers that shape the targets.

    Attributes:
        soi: ``L`` pairs (low, high): sizes of interest, in pixels of half a box's diagonal.
        delta: ``(1 - HM_MIN_OVERLAP) / (1 + HM_MIN_OVERLAP)``; a peak's radius is
            ``delta * sqrt(2 * area)``.
        min_radius: least radius of a peak in pixels.
    """

    soi: Sequence[Sequence[float]]
    delta: float
    min_radius: float


@dataclass(frozen=True)
class BoxBatch:
    """The boxes of a batch, flattened: ``N`` boxes, ``L`` levels.

    Attributes:
        boxes: ``(N, 4)`` float32 XYXY in pixels.
        image: ``(N,)`` int64, index of each box's image.
        classes: ``(N,)`` int64.
        centers: ``(N, 2)`` (x, y), moved into the image where that was asked for.
        inv_radius2: ``(N,)`` one over the squared radius of the heatmap peak.
        cell: ``(N, L, 2)`` int64, column and row of the centre cell at each level.
        in_grid: ``(N, L)`` bool, whether that cell exists.
        cared: ``(N, L)`` bool, whether the level learns the box.
    """

    boxes: torch.Tensor
    image: torch.Tensor
    classes: torch.Tensor
    centers: torch.Tensor
    inv_radius2: torch.Tensor
    cell: torch.Tensor
    in_grid: torch.Tensor
    cared: torch.Tensor


@dataclass(frozen=True)
class CenterNetTargets:
    """What the head learns from a batch. Cells are indices into the ``B * M`` cells of the batch.

    Attributes:
        pos_index: ``(P,)`` int64 cells of heatmap positives, one entry a box and level.
        pos_class: ``(P,)`` int64 their classes.
        heatmap: ``(B * M, C)`` float32; ``C`` is 1 for class-agnostic targets.
        reg_index: ``(R,)`` int64 cells that learn a box.
        reg_target: ``(R, 4)`` float32 l, t, r, b in units of the cell's stride.
        reg_weight: ``(R,)`` float32, the largest heatmap value of the cell.
        batch: the boxes that all this was made from.
    """

    pos_index: torch.Tensor
    pos_class: torch.Tensor
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
    heatmap = draw_heatmap(grid, batch, num_images, num_classes)
    reg_index, reg_target = regression_targets(grid, batch, num_images)

    box, level = torch.nonzero(batch.cared & batch.in_grid, as_tuple=True)
    return CenterNetTargets(
        pos_index=cell_index(grid, batch.image[box], level, batch.cell[box, level]),
        pos_class=batch.classes[box],
        heatmap=heatmap,
        reg_index=reg_index,
        reg_target=reg_target,
        reg_weight=heatmap[reg_index].amax(dim=1),
        batch=batch,
    )


def gather_boxes(
    grid: Grid,
    boxes_per_image: Sequence[torch.Tensor],
    classes_per_image: Sequence[torch.Tensor] | None,
    params: TargetParams,
    image_sizes: Sequence[tuple[int, int]] | None = None,
) -> BoxBatch:
    """Flatten the boxes of a batch and find their centre cells and levels; see assign_targets."""
    device = grid.locations.device
    counts = torch.tensor([len(b) for b in boxes_per_image], device=device)
    boxes = torch.cat([b.to(torch.float32) for b in boxes_per_image])
    image = torch.repeat_interleave(counts, output_size=len(boxes))
    if classes_per_image is None:
        classes = torch.zeros_like(image)
    else:
        classes = torch.cat([c.to(torch.int64) for c in classes_per_image])

    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    if image_sizes is not None:
        limits = torch.tensor([(w - 1, h - 1) for h, w in image_sizes], device=device)
        centers = centers.clamp(min=0).minimum(limits[image].to(centers.dtype))

    size = boxes[:, 2:] - boxes[:, :2]
    radius2 = (2 * params.delta**2 * size.prod(dim=1)).clamp(min=params.min_radius**2)
    half_diagonal = (size.square().sum(dim=1).sqrt() / 2)[:, None]
    low, high = torch.tensor(params.soi, dtype=torch.float32, device=device).unbind(dim=1)

    cell = torch.div(centers[:, None], grid.level_strides[:, None], rounding_mode="floor").long()
    extent = torch.stack([grid.widths, grid.heights], dim=1)
    return BoxBatch(
        boxes=boxes,
        image=image,
        classes=classes,
        centers=centers,
        inv_radius2=1 / radius2,
        cell=cell,
        in_grid=((cell >= 0) & (cell < extent)).all(dim=2),
        cared=(half_diagonal >= low) & (half_diagonal <= high),
    )


def draw_heatmap(grid: Grid, batch: BoxBatch, num_images: int, num_classes: int) -> torch.Tensor:
    """``(B * M, C)`` heatmap: at each cell the highest of the Gaussian peaks of its class.

    Every box is drawn on every level, whatever level learns it (as published): an off-level
    centre is no positive, but it is not pushed down either.
    """
    heatmap = torch.zeros(num_images * grid.num_cells * num_classes, device=grid.locations.device)

    # The rectangle of cells that a peak can reach, for each box and level
    stride = grid.level_strides
    first_location = torch.div(stride, 2, rounding_mode="floor")
    to_center = batch.centers[:, None] - first_location[:, None]  # from cell (0, 0), in pixels
    reach = (math.sqrt(-math.log(HEATMAP_FLOOR)) / batch.inv_radius2.sqrt())[:, None, None]
    last = torch.stack([grid.widths, grid.heights], dim=1) - 1
    low = ((to_center - reach) / stride[:, None]).ceil().clamp(min=0).long()
    high = ((to_center + reach) / stride[:, None]).floor().long().minimum(last)
    extent = (high - low + 1).clamp(min=0)

    box, level = _all_pairs(len(batch.boxes), len(stride), stride.device)
    low, extent = low.flatten(0, 1), extent.flatten(0, 1)
    first_index = cell_index(grid, batch.image[box], level, low) * num_classes + batch.classes[box]
    whole = torch.stack([first_index, grid.widths[level] * num_classes, extent[:, 0]], dim=1)
    # Distances in units of the peak's radius: of the rectangle's first cell, and a cell's step
    inv_radius = batch.inv_radius2.sqrt()[box, None]
    step = stride[level, None] * inv_radius
    real = torch.cat([low * step - to_center.flatten(0, 1) * inv_radius, step], dim=1)

    area = extent.prod(dim=1)
    for start, stop in _chunks(area):
        sizes = area[start:stop]
        within = _count_within(sizes)
        index, row_step, width = (
            whole[start:stop].repeat_interleave(sizes, dim=0, output_size=len(within)).unbind(dim=1)
        )
        dx, dy, step = (
            real[start:stop].repeat_interleave(sizes, dim=0, output_size=len(within)).unbind(dim=1)
        )
        row = torch.div(within, width, rounding_mode="floor")
        column = within - row * width
        value = torch.exp(-(dx + column * step).square() - (dy + row * step).square())
        value = torch.where(value < HEATMAP_FLOOR, 0.0, value)
        index = index + row * row_step + column * num_classes
        heatmap.scatter_reduce_(0, index, value, "amax")

    # A centre cell has the value 1 even where the cell's location is not the exact centre
    box, level = torch.nonzero(batch.in_grid, as_tuple=True)
    index = cell_index(grid, batch.image[box], level, batch.cell[box, level])
    heatmap[index * num_classes + batch.classes[box]] = 1.0
    return heatmap.view(-1, num_classes)


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


def cell_index(
    grid: Grid, image: torch.Tensor, level: torch.Tensor, cell: torch.Tensor
) -> torch.Tensor:
    """Index into the ``B * M`` cells of a batch of cells given as (column, row) of a level."""
    return (
        image * grid.num_cells
        + grid.level_start[level]
        + cell[:, 1] * grid.widths[level]
        + cell[:, 0]
    )


def _count_within(sizes: torch.Tensor) -> torch.Tensor:
    """0..n-1 for each n of ``sizes``, one after the other."""
    ends = sizes.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    starts = (ends - sizes).repeat_interleave(sizes, output_size=total)
    return torch.arange(total, device=sizes.device) - starts


def _all_pairs(
    num_boxes: int, num_levels: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Box and level of all ``num_boxes * num_levels`` pairs, box by box."""
    box = torch.arange(num_boxes, device=device).repeat_interleave(num_levels)
    return box, torch.arange(num_levels, device=device).repeat(num_boxes)


def _chunks(sizes: torch.Tensor) -> list[tuple[int, int]]:
    """Cut a list of items into runs whose sizes add up to about MAX_CELLS_PER_CHUNK at most."""
    run = torch.div(sizes.cumsum(0), MAX_CELLS_PER_CHUNK, rounding_mode="floor")
    lengths = torch.unique_consecutive(run, return_counts=True)[1].tolist()
    edges = [0, *accumulate(lengths)]
    return list(zip(edges, edges[1:]))
