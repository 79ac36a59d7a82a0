"""Checks of the entries of annotation and results files, before any of them is computed with."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Callable

import numpy as np
from pycocotools import mask as mask_api

from centernet2.data.doctor.run_lengths import decode_strings, measure_runs
from centernet2.errors import UserError

__all__ = ["check_detections", "check_truth"]

Record = dict[str, Any]

_DOCTOR = "python tools/check_dataset.py lists and mends such entries"
_NUMBERS = (int, float)
_SHOWN = 60


def check_truth(file: object, truth: Mapping[str, Any]) -> None:
    """Check the lists "images", "categories" and "annotations" of an annotation file.

    Raises:
        UserError: naming the file and the first entry that evaluation cannot use.
    """
    images: dict[int, Record] = {}
    categories: dict[int, Record] = {}
    for known, name in ((images, "images"), (categories, "categories")):
        for entry in _entries(file, name, truth[name]):
            _demand(file, name, entry, "id", _is_integer, "an integer")
            if entry["id"] in known:
                raise UserError(f"{file}: two {name} have the id {entry['id']}; {_DOCTOR}.")
            known[entry["id"]] = entry
    for category in categories.values():
        where = f"categories, id {category['id']}"
        _demand(file, where, category, "name", lambda v: isinstance(v, str), "a text")
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
                problem = "it must be a list of polygons or a run-length encoding"
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


def _is_integer(value: object) -> bool:
    return type(value) is int


def _is_side(value: Any) -> bool:
    return _is_integer(value) and value > 0


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
        and all(_is_finite(v) for v in polygon)
        for polygon in shape
    )


def _check_codes(
    file: object, kind: str, numbered: Sequence[tuple[int, Record]], images: Mapping[int, Record]
) -> None:
    """Check run-length masks: pycocotools' decoder would read beyond the end of a broken one."""

    def fail(number: int, problem: str) -> None:
        raise UserError(f"{file}: {kind} {number} has a segmentation {problem}.")

    strings, runs, heights, areas = [], [], [], []
    for number, entry in numbered:
        code, image = entry["segmentation"], images[entry["image_id"]]
        size, counts = code.get("size"), code.get("counts")
        if not (isinstance(size, list) and len(size) == 2 and all(map(_is_integer, size))):
            fail(number, f"of size {_brief(size)}; it must be [height, width]")
        if min(size) < 1 or size != [image.get("height"), image.get("width")]:
            fail(
                number,
                f"of size {size} (height, width), but its image {entry['image_id']} has "
                f"[{image.get('height')}, {image.get('width')}]",
            )
        if isinstance(counts, list):
            if not counts or not all(map(_is_integer, counts)):
                fail(number, "whose 'counts' are not integers")
            code = mask_api.frPyObjects(code, *size) if min(counts) >= 0 else {"counts": b""}
            counts = code["counts"].decode("ascii")
        if not isinstance(counts, str) or not counts.isascii():
            fail(number, "whose 'counts' are neither a text of run lengths nor a list")
        strings.append(counts.encode("ascii"))
        heights.append(size[0])
        areas.append(size[0] * size[1])
    for (number, _), run in zip(numbered, decode_strings(strings)):
        if run is None or not len(run):
            fail(number, "whose run lengths are broken")
        else:
            runs.append(run)
    shapes = measure_runs(runs, np.array(heights))
    for i in np.flatnonzero(shapes.negative | (shapes.total != np.array(areas, dtype=np.int64))):
        fail(numbered[int(i)][0], "whose run lengths do not add up to the size of its image")
