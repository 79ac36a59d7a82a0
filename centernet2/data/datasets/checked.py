"""Records of an annotation file, checked for what would fail hours later or harm the process.

Masks are the reason for the strictness: pycocotools writes run lengths into memory as they come,
whatever size their image has.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from detectron2.data import MetadataCatalog

from centernet2.data.datasets.coco_summary import read_coco
from centernet2.errors import UserError

__all__ = ["is_text", "load_checked"]

_LARGEST_SIDE = 1_000_000  # pixels
_FAR = 1e7  # pixels: no coordinate of an image lies beyond
_MOST_ID = 2**63
# Numbers of run lengths that no image has: more than 30 bits in groups of 5
_LONG_NUMBER = re.compile(rb"[P-o]{6}")


def load_checked(
    name: str, json_file: str, load: Callable[[], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Load records and check them and the names of their classes.

    Args:
        name: of the data set, whose metadata have ``thing_classes`` when it is loaded.
        json_file: that the records come from, for messages.
        load: returns Detectron2 data set dicts.

    Raises:
        UserError: naming the file, the image and what is wrong with it.
    """
    try:
        records = load()
    except (UserError, OSError):
        raise
    except Exception as error:  # what a loader trips over is not limited
        read_coco(json_file)  # says which line is no JSON, or which list is missing
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{json_file} is not in the format of its data set ({reason}); tools/check_dataset.py "
            "names every wrong entry."
        ) from error
    classes = MetadataCatalog.get(name).thing_classes
    for label in classes:
        if not isinstance(label, str) or not is_text(label):
            raise UserError(
                f"{json_file}: the class name {_brief(label)} is no text; rename its category."
            )
    for record in records:
        _check(json_file, record, len(classes))
    return records


def is_text(value: str) -> bool:
    """Whether a text can be printed and written; JSON can hold some that cannot."""
    try:  # halves of characters raise
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _check(json_file: str, record: dict[str, Any], classes: int) -> None:
    image_id, name = record["image_id"], record["file_name"]
    where = f"{json_file}: image {ascii(image_id)[:60]}"
    if not isinstance(image_id, (int, str)) or (
        isinstance(image_id, int) and abs(image_id) >= _MOST_ID
    ):
        raise UserError(f"{where}: its id must be a whole number below 2^63, or text.")
    if not is_text(name):
        raise UserError(f"{where}: its file name {_brief(os.path.basename(name))} is no text.")
    size = record["height"], record["width"]
    for side in size:
        if not isinstance(side, (int, float)) or not 1 <= side <= _LARGEST_SIDE:
            raise UserError(
                f"{where}: it has the width {_brief(size[1])} and the height {_brief(size[0])}."
            )
    for number, annotation in enumerate(record.get("annotations", ())):
        problem = _problem(annotation, size, classes)
        if problem:
            raise UserError(
                f"{where} ({os.path.basename(name)}): object number {number + 1} has {problem}; "
                "tools/check_dataset.py lists all such objects and can leave them out (--fix)."
            )


def _problem(annotation: dict[str, Any], size: tuple[int, int], classes: int) -> str:
    label = annotation.get("category_id")
    if not isinstance(label, int) or not 0 <= label < classes:
        return "a category_id that is not in the list of categories"
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not _near(box):
        return f"the bbox {_brief(box)} instead of 4 numbers x, y, width, height"
    if not _near(annotation.get("keypoints") or [0]):
        return "keypoints that are not numbers"
    mask = annotation.get("segmentation")
    if isinstance(mask, dict):
        return _run_length_problem(mask, size)
    if mask is not None and not all(isinstance(part, list) and _near(part) for part in mask):
        return "a polygon that is not a list of numbers"
    return ""


def _near(values: Sequence[Any]) -> bool:
    """Whether all are numbers within reach of an image; NaN and infinities are not."""
    try:
        return bool(sum(values) == sum(values) and min(values) > -_FAR and max(values) < _FAR)
    except (TypeError, OverflowError, ValueError):
        return False


def _run_length_problem(mask: dict[str, Any], size: tuple[int, int]) -> str:
    from centernet2.data.doctor.run_lengths import decode_strings

    if list(mask.get("size", ())) != list(size):
        return f"a mask of the size {_brief(mask.get('size'))}, while the image has {list(size)}"
    counts = mask.get("counts")
    data = counts.encode("latin1", "replace") if isinstance(counts, str) else counts
    if isinstance(data, bytes) and not _LONG_NUMBER.search(data):
        (runs,) = decode_strings([data])
        if runs is not None and runs.min() >= 0 and runs.sum() == size[0] * size[1]:
            return ""
    return "run lengths that do not add up to the image"


def _brief(value: Any) -> str:
    return ascii(value)[:80]
