"""Names of keypoints, and which of them a mirror exchanges, from an annotation file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from centernet2.data.json_file import read_json

__all__ = ["keypoint_metadata", "read_keypoint_metadata"]

_SIDES = ("left", "right")


def keypoint_metadata(categories: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What Detectron2 wants to know of keypoints.

    Args:
        categories: of a COCO file; the first one with ``keypoints`` counts.

    Returns:
        ``keypoint_names``; ``keypoint_flip_map``, pairs of names that differ by "left" and "right"
        alone; ``keypoint_connection_rules``, the ``skeleton`` without colours. Empty if there are
        no keypoints.
    """
    found = next((c for c in categories if c.get("keypoints")), None)
    if found is None:
        return {}
    names = [str(name) for name in found["keypoints"]]
    left, right = _SIDES
    pairs = [
        (name, name.replace(left, right))
        for name in names
        if left in name and name.replace(left, right) in names
    ]
    limbs = [
        (names[a - 1], names[b - 1], None)
        for a, b in found.get("skeleton", ())
        if 0 < a <= len(names) and 0 < b <= len(names)
    ]
    return {
        "keypoint_names": names, "keypoint_flip_map": pairs, "keypoint_connection_rules": limbs,
    }  # fmt: skip


def read_keypoint_metadata(json_file: str | os.PathLike[str]) -> dict[str, Any]:
    """:func:`keypoint_metadata` of an annotation file."""
    return keypoint_metadata(read_json(json_file).get("categories", ()))
