"""Names of keypoints, and which of them a mirror exchanges, from an annotation file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from centernet2.data.json_file import read_json

__all__ = ["keypoint_metadata", "mirror_pairs", "read_keypoint_metadata"]

_SIDES = ("left", "right")


def keypoint_metadata(categories: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What Detectron2 wants to know of keypoints.

    Args:
        categories: of a COCO file; the first one with ``keypoints`` counts.

    Returns:
        ``keypoint_names`` and ``keypoint_flip_map``, :func:`mirror_pairs`. Empty if there are no
        keypoints.
    """
    lists = [c["keypoints"] for c in categories if isinstance(c.get("keypoints"), list)]
    names = next(([str(name) for name in found] for found in lists if found), None)
    if names is None:
        return {}
    return {"keypoint_names": names, "keypoint_flip_map": mirror_pairs(names)}


def mirror_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names that differ by "left" and "right" alone."""
    left, right = _SIDES
    return [
        (name, name.replace(left, right))
        for name in names
        if left in name and name.replace(left, right) in names
    ]


def read_keypoint_metadata(json_file: str | os.PathLike[str]) -> dict[str, Any]:
    """:func:`keypoint_metadata` of an annotation file."""
    return keypoint_metadata(read_json(json_file).get("categories", ()))
