"""Checks of boxes, areas and crowd flags."""

from __future__ import annotations

from typing import Any

import numpy as np

from centernet2.data.doctor.findings import printable, shown
from centernet2.data.doctor.tables import Dataset

__all__ = ["box_column", "check_boxes", "is_number"]

LARGEST = 1e9
EDGE_TOLERANCE = 1.0  # pixels; rounding takes boxes of published sets this far over the edge


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number (``true`` is none)."""
    return type(value) is float or type(value) is int


def box_column(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The boxes as they stand.

    Returns:
        (N, 4) float64 boxes x, y, width, height, NaN where they are not finite or absurdly large;
        (N,) whether each is a list of four numbers.
    """
    values: list[Any] = [record.get("bbox") for record in data.annotations.records]
    ok = np.fromiter(
        (type(v) is list and len(v) == 4 and all(map(is_number, v)) for v in values),
        np.bool_,
        len(values),
    )
    boxes = np.full((len(values), 4), np.nan)
    rows = [
        row
        for row in np.flatnonzero(ok)
        if all(abs(number) < LARGEST for number in values[row])  # false for NaN
    ]
    if rows:
        boxes[rows] = np.array([values[row] for row in rows], np.float64)
    return boxes, ok


def check_boxes(data: Dataset) -> None:
    """Boxes that are no boxes, have no area, leave their image or are there twice."""
    annotations = data.annotations
    boxes, ok = box_column(data)
    for row in np.flatnonzero(~ok):
        value = annotations.records[row].get("bbox")
        data.add("box-bad", annotations, int(row), f"bbox {shown(value)}")
    finite = np.isfinite(boxes).all(1)
    positive = finite & (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
    low = np.maximum(boxes[:, :2], 0)
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], data.sizes)  # NaN where the size is unknown
    sized = positive & ~np.isnan(data.sizes[:, 0])
    outside = sized & (high <= low).any(1)
    beyond = np.maximum(low - boxes[:, :2], boxes[:, :2] + boxes[:, 2:] - high).max(1)
    over = sized & ~outside & (beyond > EDGE_TOLERANCE)
    tiny = positive & (boxes[:, 2:] < 1).any(1)
    for kind, mask in (
        ("box-not-finite", ok & ~finite),
        ("box-no-area", finite & ~positive),
        ("box-outside", outside),
        ("box-over-edge", over),
        ("box-tiny", tiny & ~outside),
    ):
        for row in np.flatnonzero(mask):
            detail = f"bbox {printable(annotations.records[row]['bbox'])}"
            if kind in ("box-outside", "box-over-edge"):
                width, height = data.sizes[row]
                detail += f", image {width:.0f} x {height:.0f}"
            data.add(kind, annotations, int(row), detail)
    _check_duplicates(data, boxes, positive)
    _check_fields(data)


def _check_duplicates(data: Dataset, boxes: np.ndarray, positive: np.ndarray) -> None:
    rows = np.flatnonzero(positive & data.image_id_ok & data.category_id_ok)
    if len(rows) < 2:
        return
    keys = np.column_stack([data.image_ids[rows], data.category_ids[rows], boxes[rows]])
    order = np.lexsort(keys.T[::-1])
    same = (keys[order][1:] == keys[order][:-1]).all(1)
    # lexsort is stable: within a run of equal keys the first one is the one to keep
    start = np.maximum.accumulate(np.where(np.r_[True, ~same], np.arange(len(rows)), 0))
    for i in np.flatnonzero(same) + 1:
        row, first = rows[order[i]], rows[order[start[i]]]
        record = data.annotations.records[first]
        detail = f"as annotations[{data.annotations.index[first]}] (id {shown(record.get('id'))})"
        data.add("duplicate-annotation", data.annotations, int(row), detail)


def _check_fields(data: Dataset) -> None:
    for row, record in enumerate(data.annotations.records):
        area: Any = record.get("area")
        if not is_number(area) or not 0 < area < LARGEST**2:
            data.add("area-bad", data.annotations, row, f"area {shown(area)}")
        crowd: Any = record.get("iscrowd", 0 if data.is_lvis else None)
        if type(crowd) is not int or crowd not in (0, 1):
            data.add("iscrowd-bad", data.annotations, row, f"iscrowd {shown(crowd)}")
