"""Checks of what LVIS has beyond COCO: frequencies, negative and not exhaustive categories."""

from __future__ import annotations

from typing import Any

from centernet2.data.doctor.findings import shown
from centernet2.data.doctor.tables import Dataset

__all__ = ["LISTS", "check_lvis", "known_ids"]

LISTS = ("neg_category_ids", "not_exhaustive_category_ids")


def known_ids(data: Dataset) -> set[int]:
    """The ids of the file's categories."""
    return set(data.categories.ids[data.categories.id_ok].tolist())


def check_lvis(data: Dataset) -> None:
    """Federated annotations that LVIS's evaluation cannot read; other files have none."""
    if not data.is_lvis:
        return
    for row, category in enumerate(data.categories.records):
        frequency = category.get("frequency")
        if not isinstance(frequency, str) or frequency not in ("r", "c", "f"):
            detail = f"frequency {shown(frequency)}"
            data.add("lvis-frequency-bad", data.categories, row, detail)
    known = known_ids(data)
    pairs = zip(data.image_rows.tolist(), data.category_ids.tolist(), data.category_id_ok.tolist())
    present = {(row, category) for row, category, ok in pairs if ok and row >= 0}
    for row, image in enumerate(data.images.records):
        for key in LISTS:
            reason = _reason(image.get(key), known)
            if reason:
                data.add("lvis-negatives-bad", data.images, row, f"{key} {reason}")
            elif key == "neg_category_ids":
                both = sorted(i for i in set(image[key]) if (row, i) in present)
                if both:
                    data.add("lvis-negative-present", data.images, row, f"categories {both}")


def _reason(ids: Any, known: set[int]) -> str:
    if type(ids) is not list or not all(type(i) is int for i in ids):
        return shown(ids)
    strange = sorted(set(ids) - known)
    return f"has unknown ids {shown(strange)}" if strange else ""
