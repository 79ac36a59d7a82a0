"""Checks of keypoints and skeletons."""

from __future__ import annotations

from typing import Any

import numpy as np

from centernet2.data.doctor.boxes import EDGE_TOLERANCE, LARGEST, is_number
from centernet2.data.doctor.findings import shown
from centernet2.data.doctor.tables import Dataset

__all__ = ["check_keypoints", "keypoint_count"]


def keypoint_count(category: dict[str, Any]) -> int | None:
    """Number of keypoints that a category defines, ``None`` where it defines none."""
    names = category.get("keypoints")
    return len(names) if type(names) is list and names else None


def check_keypoints(data: Dataset) -> None:
    """Keypoints that are not those of their category, are miscounted or leave the image."""
    for row, category in enumerate(data.categories.records):
        _check_skeleton(data, row, category)
    expected = [keypoint_count(category) for category in data.categories.records]
    for row, record in enumerate(data.annotations.records):
        at = data.category_rows[row]
        count = expected[at] if at >= 0 else None
        values = record.get("keypoints")
        if values is None and count is None:
            continue
        reason = _reason(values, count)
        if reason:
            data.add("keypoints-bad", data.annotations, row, reason)
            continue
        points = np.array(values, np.float64).reshape(-1, 3)
        points = points[points[:, 2] > 0]
        said = record.get("num_keypoints")
        if type(said) is not int or said != len(points):
            detail = f"num_keypoints {shown(said)}, {len(points)} are labelled"
            data.add("num-keypoints-wrong", data.annotations, row, detail)
        beyond = np.maximum(-points[:, :2], points[:, :2] - data.sizes[row])
        if (beyond > EDGE_TOLERANCE).any():
            x, y, _ = points[(beyond > EDGE_TOLERANCE).any(1)][0]
            data.add("keypoint-outside", data.annotations, row, f"({x:g}, {y:g})")


def _reason(values: Any, count: int | None) -> str:
    if type(values) is not list or not all(
        is_number(value) and abs(value) < LARGEST for value in values
    ):
        return f"keypoints {shown(values)}"
    if len(values) % 3 or not values or (count is not None and len(values) != 3 * count):
        wanted = "x, y, v of each keypoint" if count is None else f"{3 * count} of its category"
        return f"{len(values)} numbers instead of {wanted}"
    flags = set(values[2::3]) - {0, 1, 2}
    return f"v {shown(min(flags))}" if flags else ""


def _check_skeleton(data: Dataset, row: int, category: dict[str, Any]) -> None:
    skeleton, count = category.get("skeleton"), keypoint_count(category)
    if skeleton is None or count is None:
        return
    pairs = skeleton if type(skeleton) is list else [skeleton]
    for pair in pairs:
        good = type(pair) is list and len(pair) == 2
        if not good or not all(type(end) is int and 1 <= end <= count for end in pair):
            data.add("skeleton-bad", data.categories, row, f"pair {shown(pair)} of {count}")
            return
