"""The joints of people: as seen from a person's centre, moved to a peak of the joint nearby."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from centernet2.errors import UserError

from ..peaks import best_peaks, values_at
from .maps import PointMaps

__all__ = ["JointSettings", "find_joints"]

# A peak further away than this share of the longer side of the box is another person's
_REACH = 0.3
# By the rules of "tfod": the box is this much larger; a joint without a peak scores so little
_ENLARGED = 1.2
_UNMATCHED_SCORE = 0.1
_KNOWN = ("authors", "tfod", "regression")


@dataclass(frozen=True)
class JointSettings:
    """Which peak a joint takes.

    Attributes:
        match: "authors": the nearest peak, if it lies in the box and is not further away than 0.3
            of the box's longer side; else the joint stays where the centre sees it. All joints
            score 1. "tfod" (TensorFlow Object Detection): the same with a box 1.2 times as large,
            and joints score as their peaks, those without one 0.1. "regression": no peaks.
        threshold: peaks of this score and less are none.

    Raises:
        UserError: for another ``match``.
    """

    match: str = "authors"
    threshold: float = 0.1

    def __post_init__(self) -> None:
        if self.match not in _KNOWN:
            raise UserError(
                f"MODEL.POINTS.JOINT_MATCH is '{self.match}'; choose one of 'authors', 'tfod', "
                "'regression'."
            )


def find_joints(
    maps: PointMaps,
    seen: torch.Tensor,
    boxes: torch.Tensor,
    top_k: int,
    settings: JointSettings,
) -> torch.Tensor:
    """Joints of the D people of B images.

    Each joint decides by itself: a peak may serve several people.

    Args:
        maps: with ``hm_hp`` as probabilities.
        seen: ``(B, D, J, 2)`` joints as the people's centres see them, in cells.
        boxes: ``(B, D, 4)`` XYXY in cells.
        top_k: peaks of each joint.
        settings: see :class:`JointSettings`.

    Returns:
        ``(B, D, J, 3)`` of x, y in cells and score.
    """
    ones = torch.ones_like(seen[..., :1])
    if settings.match == "regression":
        return torch.cat([seen, ones], dim=3)
    points, scores = _peaks(maps, top_k, settings.threshold)
    low, high = boxes.split(2, dim=2)
    if settings.match == "tfod":
        middle, half = (low + high) / 2, (high - low) * (_ENLARGED / 2)
        low, high = middle - half, middle + half

    # (B, J, D, K): people down, peaks of the joint across
    wanted = seen.transpose(1, 2)
    distance, nearest = _distances(wanted, points).min(dim=3)
    point = points.gather(2, nearest[..., None].expand(-1, -1, -1, 2))
    score = scores.gather(2, nearest)
    inside = ((point >= low[:, None]) & (point <= high[:, None])).all(dim=3)
    reach = _REACH * (high - low).amax(dim=2)
    taken = inside & (score >= settings.threshold) & (distance <= reach[:, None])
    joints = torch.where(taken[..., None], point, wanted).transpose(1, 2)
    if settings.match == "authors":
        return torch.cat([joints, ones], dim=3)
    confidence = torch.where(taken, score, _UNMATCHED_SCORE).transpose(1, 2)
    return torch.cat([joints, confidence[..., None]], dim=3)


def _peaks(maps: PointMaps, top_k: int, threshold: float) -> tuple[torch.Tensor, torch.Tensor]:
    """``(B, J, K, 2)`` peaks of the joints in cells and their ``(B, J, K)`` scores."""
    assert maps.hm_hp is not None and maps.hp_offset is not None
    heat, offset = maps.hm_hp.float(), maps.hp_offset
    joints, _, width = heat.shape[1:]
    scores, _, cell = best_peaks(heat.flatten(0, 1)[:, None], top_k)
    scores, cell = (part.unflatten(0, (-1, joints)) for part in (scores, cell))
    row = torch.div(cell, width, rounding_mode="floor")
    corner = torch.stack([cell - row * width, row], dim=3)
    points = corner + values_at(offset, cell.flatten(1)).unflatten(1, (joints, -1))
    void = scores <= threshold
    return points.masked_fill(void[..., None], -10000.0), scores.masked_fill(void, -1.0)


def _distances(wanted: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """``(B, J, D, K)`` Euclidean distances of ``(B, J, D, 2)`` and ``(B, J, K, 2)`` points."""
    difference = wanted[:, :, :, None] - points[:, :, None]
    return difference.square().sum(dim=4).sqrt()
