"""Heatmap targets: a Gaussian peak a box and level (report section 2, Objects as Points).

Only cells near objects are ever held: of 1,203 classes' maps they are one value in a thousand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate

import torch

from .box_batch import BoxBatch
from .grid import Grid, cell_index

__all__ = ["Peaks", "draw_peaks", "peaks_of_map"]

# Heatmap values below this are 0, so a peak ends where d2 exceeds -log of it
HEATMAP_FLOOR = 1e-4
# Cells handled at once; bounds the memory that crowded images take
MAX_CELLS_PER_CHUNK = 4_000_000


@dataclass(frozen=True)
class Peaks:
    """Heatmaps of a batch where they are not zero; no (cell, class) pair occurs twice.

    Attributes:
        cell: ``(E,)`` int64, indices into the ``B * M`` cells of the batch.
        channel: ``(E,)`` int64, classes.
        value: ``(E,)`` float32 in (0, 1].
    """

    cell: torch.Tensor
    channel: torch.Tensor
    value: torch.Tensor


def draw_peaks(grid: Grid, batch: BoxBatch, num_images: int, num_classes: int) -> Peaks:
    """The highest of the Gaussian peaks of each class at each cell.

    Every box is drawn on every level, whatever level learns it (as published): an off-level
    centre is no positive, but it is not pushed down either.
    """
    # A centre cell has the value 1 even where the cell's location is not the exact centre
    box, level = torch.nonzero(batch.in_grid, as_tuple=True)
    key = cell_index(grid, batch.image[box], level, batch.cell[box, level]) * num_classes
    key = key + batch.classes[box]
    value = torch.ones(len(key), device=key.device)

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
    first_key = cell_index(grid, batch.image[box], level, low) * num_classes + batch.classes[box]
    whole = torch.stack([first_key, grid.widths[level] * num_classes, extent[:, 0]], dim=1)
    # Distances in units of the peak's radius: of the rectangle's first cell, and a cell's step
    inv_radius = batch.inv_radius2.sqrt()[box, None]
    step = stride[level, None] * inv_radius
    real = torch.cat([low * step - to_center.flatten(0, 1) * inv_radius, step], dim=1)

    area = extent.prod(dim=1)
    for start, stop in _chunks(area):
        sizes = area[start:stop]
        within = _count_within(sizes)
        first, row_step, width = (
            whole[start:stop].repeat_interleave(sizes, dim=0, output_size=len(within)).unbind(dim=1)
        )
        dx, dy, step = (
            real[start:stop].repeat_interleave(sizes, dim=0, output_size=len(within)).unbind(dim=1)
        )
        row = torch.div(within, width, rounding_mode="floor")
        column = within - row * width
        drawn = torch.exp(-(dx + column * step).square() - (dy + row * step).square())
        keep = drawn >= HEATMAP_FLOOR
        drawn_key = (first + row * row_step + column * num_classes)[keep]
        key, value = _highest(torch.cat([key, drawn_key]), torch.cat([value, drawn[keep]]))

    cell = torch.div(key, num_classes, rounding_mode="floor")
    return Peaks(cell=cell, channel=key - cell * num_classes, value=value)


def peaks_of_map(heatmap: torch.Tensor) -> Peaks:
    """A single heatmap, ``(B * M,)``, as the peaks of channel 0."""
    cell = heatmap.nonzero()[:, 0]
    return Peaks(cell=cell, channel=torch.zeros_like(cell), value=heatmap[cell])


def _highest(key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The keys without repetition, each with its largest value."""
    distinct, place = torch.unique(key, return_inverse=True)
    return distinct, value.new_zeros(len(distinct)).scatter_reduce_(0, place, value, "amax")


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
