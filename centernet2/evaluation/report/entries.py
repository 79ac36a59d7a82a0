"""Checks of the entries of annotation and results files, before any of them is computed with."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Callable

import numpy as np

from centernet2.data.doctor.run_lengths import decode_strings, measure_runs
from centernet2.errors import UserError

__all__ = ["check_detections", "check_truth", "is_id"]

Record = dict[str, Any]

_DOCTOR = "python tools/check_dataset.py lists and mends such entries"
_NUMBERS = (int, float)
_SHOWN = 60
_FARTHEST = 1e6  # pixels: pycocotools takes memory in proportion to a polygon's length
_LARGEST = 2**24  # pixels of an image's side
_MOST = 2**53  # float64, in which evaluators keep ids, is exact up to here


def check_truth(file: object, truth: Mapping[str, Any]) -> None:
    """Check the lists "images", "categories" and "annotations" of an annotation file.

    Raises:
        UserError: naming the file and the first entry that evaluation cannot use.
    """
    images: dict[int, Record] = {}
    categories: dict[int, Record] = {}
    for known, name in ((images, "images"), (categories, "categories")):
        for entry in _entries(file, name, truth[name]):
            _demand(file, name, entry, "id", is_id, "an integer from 0 on")
            if entry["id"] in known:
                raise UserError(f"{file}: two {name} have the id {entry['id']}; {_DOCTOR}.")
            known[entry["id"]] = entry
    for image in images.values():
        where = f"image {image['id']}"
        for side in ("height", "width"):
            if side in image:
                _demand(file, where, image, side, _is_side, "a positive integer")
        if "file_name" in image:
            _demand(file, where, image, "file_name", _is_text, "a text")
    for category in categories.values():
        where = f"categories, id {category['id']}"
        _demand(file, where, category, "name", _is_text, "a text")
    masked = []
    for i, entry in enumerate(_entries(file, "annotations", truth["annotations"]), start=1):
        where = f"annotation number {i}"
        _demand(file, where, entry, "image_id", _known_in(images), "the id of one of its images")
        _demand(file, where, entry, "category_id", _known_in(categories), "one of its categories")
        _demand(file, where, entry, "bbox", _is_box, _BOX)
        if entry.get("area") is not None:
            _demand(file, where, entry, "area", _is_amount, "a number that is not negative")
        _demand(file, where, {"iscrowd": 0, **entry}, "iscrowd", lambda v: v in (0, 1), "0 or 1")
        if entry.get("segmentation"):
            masked.append((i, entry))
            for side in ("height", "width"):
                image = images[entry["image_id"]]
                _demand(file, f"image {image['id']}", image, side, _is_side, "a positive integer")
            shape = entry["segmentation"]
            if not isinstance(shape, dict) and not _is_polygons(shape):
                problem = "it must be a list of polygons near the image or a run-length encoding"
                raise UserError(
                    f"{file}: {where} has the segmentation {_brief(shape)}; {problem}; {_DOCTOR}."
                )
    coded = [(i, entry) for i, entry in masked if isinstance(entry["segmentation"], dict)]
    _check_codes(file, "annotation", coded, images)


def check_detections(
    file: object, found: Sequence[Any], annotations: object, truth: Mapping[str, Any]
) -> None:
    """Check the detections of a results file.

    Args:
        file: the results file, for messages.
        found: its content, a list.
        annotations: the annotation file, for messages.
        truth: its content, which :func:`check_truth` has passed.

    Raises:
        UserError: naming the file and the first entry that is malformed, or that is of an image or
            a category which the annotations do not list.
    """
    images = {image["id"]: image for image in truth["images"]}
    categories = {category["id"] for category in truth["categories"]}
    of_images, of_categories = _known_in(images), _known_in(categories)
    listed = f"one that {annotations} lists (do these files belong together?)"
    for i, entry in enumerate(_entries(file, "entries", found), start=1):
        # The common case at once: results of large data sets have millions of entries
        if (
            of_images(entry.get("image_id"))
            and of_categories(entry.get("category_id"))
            and _is_finite(entry.get("score"))
            and _is_box(entry.get("bbox"))
        ):
            continue
        where = f"entry {i}"
        _demand(file, where, entry, "image_id", of_images, listed)
        _demand(file, where, entry, "category_id", of_categories, listed)
        _demand(file, where, entry, "score", _is_finite, "a finite number")
        _demand(file, where, entry, "bbox", _is_box, _BOX)
    masked = [(i, d) for i, d in enumerate(found, start=1) if "segmentation" in d]
    for i, entry in masked:
        if not isinstance(entry["segmentation"], dict):
            raise UserError(
                f"{file}: entry {i} has the segmentation {_brief(entry['segmentation'])}; it must "
                "be a run-length encoding."
            )
    _check_codes(file, "entry", masked, images)


_BOX = "[x, y, width, height], four finite numbers, no side negative"


def _entries(file: object, name: str, entries: Iterable[Any]) -> Iterable[Record]:
    for i, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise UserError(f"{file}: {name}, number {i}, is {_brief(entry)}, not an object.")
        yield entry


def _demand(
    file: object,
    where: str,
    entry: Mapping[str, Any],
    key: str,
    good: Callable[[Any], bool],
    wanted: str,
) -> None:
    if key not in entry:
        raise UserError(f"{file}: {where} lacks '{key}'; it must be {wanted}.")
    if not good(entry[key]):
        raise UserError(f"{file}: {where} has the {key} {_brief(entry[key])}; it must be {wanted}.")


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def is_id(value: Any) -> bool:
    """Whether a value is an integer that evaluators take for an id."""
    return _is_integer(value) and 0 <= value < _MOST


def _is_integer(value: object) -> bool:
    return type(value) is int


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_side(value: Any) -> bool:
    return _is_integer(value) and 0 < value < _LARGEST


def _is_finite(value: Any) -> bool:
    return type(value) in _NUMBERS and math.isfinite(value)


def _is_amount(value: Any) -> bool:
    return _is_finite(value) and value >= 0


def _is_box(value: Any) -> bool:
    if type(value) is not list or len(value) != 4:
        return False
    x, y, width, height = value
    return (
        type(x) in _NUMBERS
        and type(y) in _NUMBERS
        and type(width) in _NUMBERS
        and type(height) in _NUMBERS
        and math.isfinite(x)
        and math.isfinite(y)
        and 0 <= width < math.inf
        and 0 <= height < math.inf
    )


def _known_in(ids: Container[int]) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value in ids


def _is_polygons(shape: object) -> bool:
    return isinstance(shape, list) and all(
        isinstance(polygon, list)
        and len(polygon) >= 6
        and len(polygon) % 2 == 0
        and all(_is_finite(v) and abs(v) < _FARTHEST for v in polygon)
        for polygon in shape
    )


def _check_codes(
    file: object, kind: str, numbered: Sequence[tuple[int, Record]], images: Mapping[int, Record]
) -> None:
    """Check run-length masks: pycocotools' decoder would read beyond the end of a broken one."""

    def fail(number: int, problem: str) -> None:
        raise UserError(f"{file}: {kind} {number} has a segmentation {problem}.")

    broken = "whose run lengths do not add up to the size of its image"
    numbers, strings, runs, heights, areas = [], [], [], [], []
    for number, entry in numbered:
        code, image = entry["segmentation"], images[entry["image_id"]]
        size, counts = code.get("size"), code.get("counts")
        if size != [image.get("height"), image.get("width")] or not all(map(_is_side, size)):
            fail(
                number,
                f"of size {_brief(size)} (height, width), but its image {entry['image_id']} has "
                f"[{image.get('height')}, {image.get('width')}]",
            )
        area = size[0] * size[1]
        if isinstance(counts, list):
            if not all(_is_integer(count) and count >= 0 for count in counts):
                fail(number, "whose 'counts' are not integers from 0 on")
            if sum(counts) != area:
                fail(number, broken)
        elif not isinstance(counts, str) or not counts.isascii():
            fail(number, "whose 'counts' are neither a text of run lengths nor a list")
        else:
            numbers.append(number)
            strings.append(counts.encode("ascii"))
            heights.append(size[0])
            areas.append(area)
    for number, run in zip(numbers, decode_strings(strings)):
        if run is None or not len(run):
            fail(number, "whose run lengths are broken")
        else:
            runs.append(run)
    shapes = measure_runs(runs, np.array(heights))
    for i in np.flatnonzero(shapes.negative | (shapes.total != np.array(areas, dtype=np.int64))):
        fail(numbers[int(i)], broken)
