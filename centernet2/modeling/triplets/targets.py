"""What each cell learns: corners and centres of boxes as peaks of heatmaps, and their offsets.

A box takes part as three keypoints: its top-left corner, its bottom-right corner and its centre.
Keypoints are flat lists over the whole batch, so there is no limit of boxes an image. Positions
and radii are worked out in float64, as published: truncation must not depend on rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

__all__ = ["Keypoints", "TargetSettings", "TripletTargets", "gaussian_radius", "make_targets"]


@dataclass(frozen=True)
class TargetSettings:
    """Shape of the peaks.

    Attributes:
        overlap: a box whose corners move by the radius still overlaps about this much; 0.7 for
            CenterNet, 0.3 for CornerNet.
        corrected_radius: whether the radius is that of the right roots (CornerNet since 2019).
        corner_sigma: a corner's peak has the standard deviation of its diameter over this.
        center_sigma: the same for a centre's peak.
        centers: whether centres are learnt (CenterNet) or corners alone (CornerNet).
    """

    overlap: float = 0.7
    corrected_radius: bool = False
    corner_sigma: float = 6.0
    center_sigma: float = 5.0
    centers: bool = True


@dataclass(frozen=True)
class Keypoints:
    """One keypoint of each of the ``N`` boxes of a batch.

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


@dataclass(frozen=True)
class TripletTargets:
    """Targets of a batch of ``B`` images with ``N`` boxes in all, image by image.

    Attributes:
        tl, br: the corners.
        ct: the centres; None without them.
        image: ``(N,)`` int64, each box's image.
        place: ``(N,)`` int64, each box's place among those of its image.
        counts: ``(B,)`` int64, boxes an image.
        most: the largest of the counts, known without asking the device.
    """

    tl: Keypoints
    br: Keypoints
    ct: Keypoints | None
    image: torch.Tensor
    place: torch.Tensor
    counts: torch.Tensor
    most: int


def make_targets(
    boxes: Sequence[torch.Tensor],
    classes: Sequence[torch.Tensor],
    input_size: tuple[int, int],
    output_size: tuple[int, int],
    num_classes: int,
    settings: TargetSettings,
) -> TripletTargets:
    """Targets of a batch.

    Args:
        boxes: one ``(n, 4)`` XYXY an image, in pixels of the input, n may be 0.
        classes: one ``(n,)`` int64 an image, below ``num_classes``.
        input_size: (height, width) that the network sees, the same for all images.
        output_size: (height, width) of its maps.
        num_classes: channels of the heatmaps.
        settings: see :class:`TargetSettings`.
    """
    device = boxes[0].device
    sizes = [len(b) for b in boxes]
    counts = torch.tensor(sizes, device=device)
    image = torch.repeat_interleave(counts, output_size=sum(sizes))
    low, high = torch.cat(list(boxes)).split(2, dim=1)
    plane = image * num_classes + torch.cat(list(classes)).long()

    ratio = torch.tensor(
        [output_size[1] / input_size[1], output_size[0] / input_size[0]],
        dtype=torch.float64,
        device=device,
    )  # of x, of y
    # Sums and differences in the boxes' own precision, all else in float64, as published
    width, height = ((high - low).double() * ratio).ceil().unbind(dim=1)
    radius = gaussian_radius(height, width, settings.overlap, settings.corrected_radius)
    radius = radius.trunc().clamp(min=0).long()
    shape = (len(sizes), num_classes, *output_size)

    def keypoints(position: torch.Tensor, sigma: float) -> Keypoints:
        return _keypoints(position.double() * ratio, plane, radius, sigma, shape)

    return TripletTargets(
        tl=keypoints(low, settings.corner_sigma),
        br=keypoints(high, settings.corner_sigma),
        ct=keypoints((low + high) / 2, settings.center_sigma) if settings.centers else None,
        image=image,
        place=torch.arange(len(image), device=device) - (counts.cumsum(0) - counts)[image],
        counts=counts,
        most=max(sizes),
    )


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


def _keypoints(
    position: torch.Tensor,
    plane: torch.Tensor,
    radius: torch.Tensor,
    sigma: float,
    shape: tuple[int, int, int, int],
) -> Keypoints:
    """Keypoints at ``(N, 2)`` x, y in cells, on ``(N,)`` planes of the maps of ``shape``."""
    height, width = shape[2:]
    # A box that reaches the very edge of the input has its corner in the last cell.
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
