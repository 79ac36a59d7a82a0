"""What evaluation reads of an annotation file beyond what training does, checked beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from centernet2.data.datasets.checked import is_text
from centernet2.errors import UserError

__all__ = ["check_truth"]

_ID = "a whole number from 0 to below 2^63"
_FREQUENCIES = ("r", "c", "f")


def check_truth(json_file: str, truth: Mapping[str, Any], lvis: bool) -> None:
    """Refuse values that no evaluation can work with.

    Args:
        json_file: for messages.
        truth: its content, whose records training could read.
        lvis: whether by LVIS's rules, which need more.

    Raises:
        UserError: naming the file, the entry, the key and the value.
    """
    for what in ("image", "category"):
        for entry in truth["images" if what == "image" else "categories"]:
            if not _is_id(entry.get("id")):
                raise _mistake(json_file, what, entry, "id", _ID)
    for image in truth["images"]:
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            wanted = [] if not lvis and key not in image else image.get(key)
            if not isinstance(wanted, list) or not all(map(_is_id, wanted)):
                raise _mistake(json_file, "image", image, key, "a list of category ids")
    for annotation in truth.get("annotations", ()):
        for key, fits, kind in _OF_ANNOTATIONS:
            if key in annotation and not fits(annotation[key]):
                raise _mistake(json_file, "annotation", annotation, key, kind)
    for category in truth["categories"]:
        name = category.get("name", "")
        if not isinstance(name, str) or not is_text(name):
            raise _mistake(json_file, "category", category, "name", "text")
        frequency = category.get("frequency", None if lvis else "r")
        if lvis and frequency not in _FREQUENCIES:
            raise _mistake(json_file, "category", category, "frequency", "r, c or f")
        if not isinstance(frequency, str) or not is_text(frequency):
            raise _mistake(json_file, "category", category, "frequency", "text")


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_area(value: Any) -> bool:
    # None: not told, so that of the box is taken
    return value is None or (
        isinstance(value, (int, float)) and abs(value) < 2**63 and math.isfinite(value)
    )


def _is_flag(value: Any) -> bool:
    return isinstance(value, int) and value in (0, 1)


_OF_ANNOTATIONS = (
    ("id", _is_id, _ID),
    ("image_id", _is_id, _ID),
    ("category_id", _is_id, _ID),
    ("area", _is_area, "a number of pixels"),
    ("iscrowd", _is_flag, "0 or 1"),
    ("ignore", _is_flag, "0 or 1"),
    ("num_keypoints", _is_id, "a whole number"),
)


def _mistake(json_file: str, what: str, entry: Mapping[str, Any], key: str, kind: str) -> UserError:
    number: Sequence[str] = ascii(entry.get("id"))[:60]
    return UserError(
        f"{json_file}: {what} {number} has the {key} {ascii(entry.get(key))[:80]}; it must be "
        f"{kind} to be evaluated (tools/check_dataset.py checks the whole file)."
    )
