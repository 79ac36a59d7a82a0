"""The cells of all pyramid levels of an image, in the one order used throughout this package.

Order of the cells: level by level, fine to coarse, and row by row within a level. In a batch the
cells of the first image come first, so cell ``m`` of image ``b`` is entry ``b * num_cells + m``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

__all__ = ["Grid", "cell_index", "flatten_levels", "make_grid", "split_levels"]


@dataclass(frozen=True)
class Grid:
    """Geometry of the cells of ``L`` levels, ``M`` cells in all.

    Attributes:
        heights, widths: ``(L,)`` int64, size of each level in cells.
        level_strides: ``(L,)`` int64, pixels per cell.
        level_start: ``(L,)`` int64, index of each level's first cell.
        locations: ``(M, 2)`` float32, (x, y) of each cell in image pixels.
        strides: ``(M,)`` float32, stride of each cell's level.
        level_sizes: number of cells of each level, as Python integers.
    """

    heights: torch.Tensor
    widths: torch.Tensor
    level_strides: torch.Tensor
    level_start: torch.Tensor
    locations: torch.Tensor
    strides: torch.Tensor
    level_sizes: tuple[int, ...]

    @property
    def num_cells(self) -> int:
        """``M``, the number of cells of one image."""
        return self.locations.shape[0]


def make_grid(
    shapes: Sequence[tuple[int, int]], strides: Sequence[int], device: torch.device | str = "cpu"
) -> Grid:
    """Lay out the cells of pyramid levels.

    Cell ``(i, j)`` of a level of stride ``s`` has its location at ``(j*s + s//2, i*s + s//2)``.

    Args:
        shapes: (height, width) of each level, in cells.
        strides: stride of each level, in pixels.
        device: where the tensors live.
    """
    locations, cell_strides = [], []
    for (height, width), s in zip(shapes, strides):
        ys = torch.arange(height, device=device, dtype=torch.float32) * s + s // 2
        xs = torch.arange(width, device=device, dtype=torch.float32) * s + s // 2
        locations.append(torch.cartesian_prod(ys, xs).view(-1, 2).flip(1))
        cell_strides.append(torch.full((height * width,), float(s), device=device))
    sizes = [height * width for height, width in shapes]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return Grid(
        heights=torch.tensor([h for h, _ in shapes], device=device),
        widths=torch.tensor([w for _, w in shapes], device=device),
        level_strides=torch.tensor(list(strides), device=device),
        level_start=torch.tensor(starts, device=device),
        locations=torch.cat(locations),
        strides=torch.cat(cell_strides),
        level_sizes=tuple(sizes),
    )


def flatten_levels(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Bring maps of all levels into the order of the cells.

    Args:
        maps: one ``(B, C, H_l, W_l)`` tensor a level.

    Returns:
        ``(B, M, C)``.
    """
    return torch.cat([m.flatten(2).transpose(1, 2) for m in maps], dim=1)


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


def split_levels(
    grid: Grid, cell: torch.Tensor, channel: torch.Tensor, num_channels: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Where entries of a batch's cells lie in the maps of the levels, ``(B, C, H_l, W_l)`` each.

    Args:
        cell: ``(E,)`` indices into the ``B * M`` cells of the batch.
        channel: ``(E,)`` channels.
        num_channels: ``C``.

    Returns:
        For each level, which of the entries lie there, ``(E_l,)``, and their indices into the
        flattened map, ``(E_l,)``.
    """
    image = torch.div(cell, grid.num_cells, rounding_mode="floor")
    within = cell - image * grid.num_cells
    plane = image * num_channels + channel
    found, first = [], 0
    for size in grid.level_sizes:
        which = ((within >= first) & (within < first + size)).nonzero()[:, 0]
        found.append((which, plane[which] * size + within[which] - first))
        first += size
    return found
