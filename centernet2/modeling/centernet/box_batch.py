"""The boxes of a batch as flat tensors, with their centre cells and the levels that learn them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .grid import Grid

__all__ = ["BoxBatch", "TargetParams", "gather_boxes"]


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
