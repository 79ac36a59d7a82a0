"""From maps to objects: the best peaks, and the boxes around them."""

from __future__ import annotations

from typing import NamedTuple

import torch

from ..peaks import best_peaks, values_at
from .joints import JointSettings, find_joints
from .maps import PointMaps

__all__ = ["Found", "decode"]


class Found(NamedTuple):
    """Objects of B images (or of one, without the first axis), best first.

    Attributes:
        boxes: ``(B, D, 4)`` float32 XYXY in cells, then in pixels; not clipped.
        scores: ``(B, D)``.
        classes: ``(B, D)`` int64.
        joints: ``(B, D, J, 3)`` float32 of x, y, score; None without pose.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    classes: torch.Tensor
    joints: torch.Tensor | None = None

    def take(self, index: torch.Tensor | int) -> Found:
        """One of the images by its number, or objects of one by numbers or a mask ``(N,)``."""
        joints = None if self.joints is None else self.joints[index]
        return Found(self.boxes[index], self.scores[index], self.classes[index], joints)


def decode(maps: PointMaps, top_k: int, joints: JointSettings) -> Found:
    """Take the ``top_k`` best peaks of each image as objects.

    Args:
        maps: of B images, ``hm`` and ``hm_hp`` as probabilities.
        top_k: see above; also the peaks of each joint.
        joints: see :class:`.joints.JointSettings`.
    """
    scores, classes, cell = best_peaks(maps.hm.float(), top_k)
    width = maps.hm.shape[3]
    row = torch.div(cell, width, rounding_mode="floor")
    corner = torch.stack([cell - row * width, row], dim=2)
    center = corner + values_at(maps.reg, cell)
    half = values_at(maps.wh, cell) / 2
    boxes = torch.cat([center - half, center + half], dim=2)
    people = None
    if maps.hps is not None:
        shifts = values_at(maps.hps, cell).unflatten(2, (-1, 2))
        people = find_joints(maps, corner[:, :, None] + shifts, boxes, top_k, joints)
    return Found(boxes, scores, classes, people)
