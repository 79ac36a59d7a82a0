"""Which joints a mirror exchanges, such as the left and the right eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.data import MetadataCatalog

from centernet2.errors import UserError

__all__ = ["joint_partners"]


def joint_partners(cfg: Any) -> tuple[int, ...]:
    """Of each joint the one that it becomes in a mirror.

    Args:
        cfg: reads MODEL.POINTS.MIRROR_PAIRS, or what is registered for DATASETS.TRAIN.

    Raises:
        UserError: if neither tells, or not for the joints of the model.
    """
    number = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
    pairs: Sequence[Sequence[int]] = cfg.MODEL.POINTS.MIRROR_PAIRS
    if not pairs:
        pairs = _registered_pairs(list(cfg.DATASETS.TRAIN), number)
    partners = list(range(number))
    for pair in pairs:
        if len(pair) != 2 or not all(0 <= joint < number for joint in pair):
            raise UserError(
                f"MODEL.POINTS.MIRROR_PAIRS has {list(pair)}, which is no pair of two of the "
                f"{number} joints (MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS), counted from 0."
            )
        left, right = pair
        partners[left], partners[right] = right, left
    return tuple(partners)


def _registered_pairs(names: list[str], number: int) -> list[tuple[int, int]]:
    """The pairs that the metadata of the first training set have."""
    metadata = MetadataCatalog.get(names[0]) if names else None
    joints = metadata.get("keypoint_names") if metadata else None
    if metadata is None or joints is None:
        raise UserError(
            f"DATASETS.TRAIN {names} do not tell which joints a mirror exchanges: set "
            "MODEL.POINTS.MIRROR_PAIRS, such as [[1, 2], [3, 4]], or switch off INPUT.RANDOM_FLIP "
            "and MODEL.POINTS.TEST_MIRROR."
        )
    if len(joints) != number:
        raise UserError(
            f"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS is {number}, but data set '{names[0]}' has "
            f"{len(joints)} keypoints: set it to {len(joints)}."
        )
    pairs = metadata.get("keypoint_flip_map", ())
    return [(joints.index(left), joints.index(right)) for left, right in pairs]
