"""What each cell learns: centres of boxes and joints of people as peaks, sizes and offsets.

Objects and joints are flat lists over the whole batch: nothing loops over images or joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..peaks import Keypoints, gaussian_radius, make_keypoints

__all__ = ["JointTargets", "PointTargets", "TargetSettings", "make_targets"]

STRIDE = 4
# A peak has the standard deviation of its diameter over this
_SIGMA = 6.0


@dataclass(frozen=True)
class TargetSettings:
    """Shape of the peaks.

    Attributes:
        overlap: a box whose corners move by the radius still overlaps about this much.
        corrected_radius: whether the radius is that of the right roots; published: False.
    """

    overlap: float = 0.7
    corrected_radius: bool = False


@dataclass(frozen=True)
class JointTargets:
    """Of the ``M`` joints of a batch that are labelled and on the map.

    Attributes:
        points: peaks of the joints; their cells and offsets.
        image: ``(M,)`` int64, whose image.
        joint: ``(M,)`` int64, which of the J joints.
        center: ``(M,)`` int64, cell of the centre of its person.
        shift: ``(M, 2)`` float32, x and y from that cell to the joint, in cells.
    """

    points: Keypoints
    image: torch.Tensor
    joint: torch.Tensor
    center: torch.Tensor
    shift: torch.Tensor


@dataclass(frozen=True)
class PointTargets:
    """Targets of a batch, with ``N`` boxes that a cell of the map sees.

    Attributes:
        centers: peaks of the centres of all boxes; their cells and offsets.
        image: ``(N,)`` int64, each box's image.
        size: ``(N, 2)`` float32, width and height in cells.
        regressed: ``(N,)`` bool, whether size and offset are learnt; with pose not for people
            without a labelled joint, which are peaks all the same.
        joints: with pose.
    """

    centers: Keypoints
    image: torch.Tensor
    size: torch.Tensor
    regressed: torch.Tensor
    joints: JointTargets | None = None


def make_targets(
    boxes: Sequence[torch.Tensor],
    classes: Sequence[torch.Tensor],
    output_size: tuple[int, int],
    num_classes: int,
    settings: TargetSettings,
    joints: Sequence[torch.Tensor] | None = None,
) -> PointTargets:
    """Targets of a batch of ``B`` images.

    Args:
        boxes: one ``(n, 4)`` XYXY an image, in pixels of the input, n may be 0. They are clipped to
            the last cell, and those of which nothing is left are left out.
        classes: one ``(n,)`` int64 an image, below ``num_classes``.
        output_size: (height, width) of the maps.
        num_classes: channels of the heatmap.
        settings: see :class:`TargetSettings`.
        joints: for pose one ``(n, J, 3)`` an image: x, y in pixels of the input, and visibility, 0
            for what is not labelled. Joints outside of the image keep theirs.
    """
    device = boxes[0].device
    counts = torch.tensor([len(b) for b in boxes], device=device)
    image = torch.repeat_interleave(counts, output_size=sum(len(b) for b in boxes))
    height, width = output_size
    last = torch.tensor([width - 1, height - 1] * 2, dtype=torch.float32, device=device)
    corners = (torch.cat(list(boxes)).float() / STRIDE).clamp(min=0).minimum(last)
    size = corners[:, 2:] - corners[:, :2]
    seen = (size > 0).all(dim=1).nonzero()[:, 0]
    corners, size, image = corners[seen], size[seen], image[seen]

    across, down = size.double().ceil().unbind(dim=1)
    radius = gaussian_radius(down, across, settings.overlap, settings.corrected_radius)
    radius = radius.trunc().clamp(min=0).long()
    plane = image * num_classes + torch.cat(list(classes)).long()[seen]
    center = (corners[:, :2] + corners[:, 2:]) / 2
    centers = make_keypoints(
        center.double(), plane, radius, _SIGMA, (len(boxes), num_classes, height, width)
    )
    if joints is None:
        return PointTargets(centers, image, size, torch.ones_like(image, dtype=torch.bool))
    people = torch.cat(list(joints)).float()[seen]
    return PointTargets(
        centers,
        image,
        size,
        regressed=(people[:, :, 2] > 0).any(dim=1),
        joints=_joint_targets(people, centers.cell, image, radius, (len(boxes), height, width)),
    )


def _joint_targets(
    people: torch.Tensor,
    cell: torch.Tensor,
    image: torch.Tensor,
    radius: torch.Tensor,
    shape: tuple[int, int, int],
) -> JointTargets:
    batch, height, width = shape
    number = people.shape[1]
    points = people[:, :, :2] / STRIDE
    limit = points.new_tensor([width, height])
    inside = ((points >= 0) & (points < limit)).all(dim=2)
    person, joint = (inside & (people[:, :, 2] > 0)).nonzero().unbind(dim=1)
    points = points[person, joint]
    row = torch.div(cell, width, rounding_mode="floor")
    corner = torch.stack([cell - row * width, row], dim=1)
    plane = image[person] * number + joint
    return JointTargets(
        points=make_keypoints(
            points.double(), plane, radius[person], _SIGMA, (batch, number, height, width)
        ),
        image=image[person],
        joint=joint,
        center=cell[person],
        shift=points - corner[person],
    )
