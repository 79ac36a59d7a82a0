"""What each cell learns: corners and centres of boxes as peaks of heatmaps, and their offsets.

A box takes part as three keypoints: its top-left corner, its bottom-right corner and its centre.
Keypoints are flat lists over the whole batch, so there is no limit of boxes an image. Positions
and radii are worked out in float64, as published: truncation must not depend on rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..peaks import Keypoints, gaussian_radius, make_keypoints

__all__ = ["TargetSettings", "TripletTargets", "make_targets"]


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
        return make_keypoints(position.double() * ratio, plane, radius, sigma, shape)

    return TripletTargets(
        tl=keypoints(low, settings.corner_sigma),
        br=keypoints(high, settings.corner_sigma),
        ct=keypoints((low + high) / 2, settings.center_sigma) if settings.centers else None,
        image=image,
        place=torch.arange(len(image), device=device) - (counts.cumsum(0) - counts)[image],
        counts=counts,
        most=max(sizes),
    )
