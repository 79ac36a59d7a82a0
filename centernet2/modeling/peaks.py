"""Keypoints as peaks of heatmaps: drawn, learnt and found. All detectors of keypoints share this.

Positions and radii are worked out in float64, as published: truncation must not depend on rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..layers import heatmap_focal_loss

__all__ = [
    "Keypoints", "best_peaks", "gaussian_radius", "heat_loss", "make_keypoints", "values_at",
]  # fmt: skip


@dataclass(frozen=True)
class Keypoints:
    """``N`` keypoints of a batch of images.

    Attributes:
        heat: ``(B, K, H, W)`` float32, at each cell the highest peak of its class; 1 at keypoints.
        peak: ``(P,)`` int64, the cells of value 1 as indices into ``heat.flatten()``, each once.
        cell: ``(N,)`` int64, row * W + column of each keypoint.
        offset: ``(N, 2)`` float32, what truncation to the cell left out in x and y, in [0, 1).
    """

    heat: torch.Tensor
    peak: torch.Tensor
    cell: torch.Tensor
    offset: torch.Tensor


def gaussian_radius(
    height: torch.Tensor, width: torch.Tensor, overlap: float, corrected: bool = False
) -> torch.Tensor:
    """How far both corners of a box may move before it overlaps less than ``overlap``.

    The least over three cases: one corner moves out and one in, both in, both out. The published
    formula (``corrected`` False) takes the larger roots of the first two and divides by 2 where
    the quadratic's leading coefficient belongs; trained weights rely on it.

    Args:
        height, width: ``(N,)`` float64 in cells.
        overlap: intersection over union, in (0, 1).
        corrected: take the right roots.

    Returns:
        ``(N,)``, not yet truncated.
    """
    total, product = height + width, height * width
    one = (total**2 - 4 * product * (1 - overlap) / (1 + overlap)).sqrt()
    inner = (4 * total**2 - 16 * (1 - overlap) * product).sqrt()
    outer = (4 * overlap**2 * total**2 + 16 * overlap * (1 - overlap) * product).sqrt()
    out = outer - 2 * overlap * total
    if corrected:
        roots = (total - one) / 2, (2 * total - inner) / 8, out / (8 * overlap)
    else:
        roots = (total + one) / 2, (2 * total + inner) / 2, out / 2
    return torch.stack(roots).amin(dim=0)


def make_keypoints(
    position: torch.Tensor,
    plane: torch.Tensor,
    radius: torch.Tensor,
    sigma: float,
    shape: tuple[int, int, int, int],
) -> Keypoints:
    """Targets of keypoints.

    Args:
        position: ``(N, 2)`` float64 of x, y in cells. What lies beyond the map is in its last cell.
        plane: ``(N,)`` int64, image * K + class of each.
        radius: ``(N,)`` int64, half the side of the square that a peak fills, in cells.
        sigma: a peak has the standard deviation (2 * radius + 1) / sigma.
        shape: B, K, H, W of the heatmap.
    """
    height, width = shape[2:]
    last = position.new_tensor([width - 1, height - 1])
    cell = position.trunc().clamp(min=0).minimum(last)
    column, row = cell.long().unbind(dim=1)
    index = row * width + column
    heat = _draw_peaks(column, row, plane, radius, sigma, shape)
    return Keypoints(
        heat=heat,
        peak=torch.unique(plane * (height * width) + index),
        cell=index,
        offset=(position - cell).float(),
    )


def _draw_peaks(
    column: torch.Tensor,
    row: torch.Tensor,
    plane: torch.Tensor,
    radius: torch.Tensor,
    sigma: float,
    shape: tuple[int, int, int, int],
) -> torch.Tensor:
    """Gaussians on squares of side 2 * radius + 1, the highest where they meet: ``shape``."""
    height, width = shape[2:]
    left, right = (column - radius).clamp(min=0), (column + radius).clamp(max=width - 1)
    top, bottom = (row - radius).clamp(min=0), (row + radius).clamp(max=height - 1)
    across = right - left + 1
    area = across * (bottom - top + 1)
    # One entry for each cell of each square: whose it is, and its number within the square
    owner = torch.repeat_interleave(area)
    within = torch.arange(len(owner), device=owner.device) - (area.cumsum(0) - area)[owner]
    down = torch.div(within, across[owner], rounding_mode="floor")
    x, y = left[owner] + within - down * across[owner], top[owner] + down

    distance2 = (x - column[owner]).square() + (y - row[owner]).square()
    inverse = 0.5 * (sigma / (2 * radius + 1).double()).square()
    value = torch.exp(-distance2 * inverse[owner]).float()
    heat = value.new_zeros(shape[0] * shape[1] * height * width)
    heat.scatter_reduce_(0, plane[owner] * (height * width) + y * width + x, value, "amax")
    return heat.view(shape)


def heat_loss(logits: torch.Tensor, keypoints: Keypoints, clamp: float = 1e-4) -> torch.Tensor:
    """Focal loss over a batch and all its classes, divided by the number of its peaks.

    Args:
        logits: ``(B, K, H, W)``.
        keypoints: where the peaks are.
        clamp: probabilities are clamped to [clamp, 1 - clamp], and what is clamped has no gradient.
    """
    bound = math.log(1 / clamp - 1)
    positive, negative = heatmap_focal_loss(
        logits.float().clamp(-bound, bound),  # here, as the layer's own clamp lets gradients pass
        keypoints.heat,
        keypoints.peak,
        alpha=-1.0,
        beta=4.0,
        gamma=2.0,
        clamp=clamp,
    )
    return (positive + negative) / max(len(keypoints.peak), 1)


def best_peaks(heat: torch.Tensor, top_k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The best cells, over all classes of each image, that equal the greatest of their 3 x 3 cells.

    Args:
        heat: ``(B, K, H, W)`` probabilities.
        top_k: cells an image; fewer if it has fewer. Where there are not as many peaks, the others
            are any cells, of score 0.

    Returns:
        Scores, classes and cells (row * W + column), each ``(B, top_k)``, best first.
    """
    peaks = heat * (F.max_pool2d(heat, 3, stride=1, padding=1) == heat)
    scores, index = peaks.flatten(1).topk(min(top_k, peaks[0].numel()), dim=1)
    cells = heat.shape[2] * heat.shape[3]
    classes = torch.div(index, cells, rounding_mode="floor")
    return scores, classes, index - classes * cells


def values_at(maps: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
    """Float32 values of ``(B, C, H, W)`` maps at ``(B, N)`` cells: ``(B, N, C)``."""
    values = maps.flatten(2).gather(2, cell[:, None].expand(-1, maps.shape[1], -1))
    return values.transpose(1, 2).float()
