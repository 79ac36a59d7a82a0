"""A cleaned copy of an annotation file; the original and the images stay as they are."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from centernet2.data.coco_sections import SECTIONS
from centernet2.data.doctor.boxes import LARGEST, is_number
from centernet2.data.doctor.check import check_annotations
from centernet2.data.doctor.findings import Finding, Report
from centernet2.data.doctor.keypoints import keypoint_count
from centernet2.data.doctor.lvis import LISTS, known_ids
from centernet2.data.doctor.tables import MAX_ID, Dataset, read_file
from centernet2.errors import UserError

__all__ = ["DROPS", "REPAIRS", "cleaned", "write_cleaned"]

Record = dict[str, Any]
# True: the record was mended. False: it cannot be, and has to go.
Repair = Callable[[Dataset, int, Record, Finding, "Iterator[int]"], bool]

_OF_FILES = (
    "path-leaves-folder",
    "image-missing",
    "image-unreadable",
    "image-truncated",
    "size-mismatch",
)
DROPS = frozenset(
    (
        "record-not-object",
        "duplicate-image-id",
        "duplicate-category-id",
        "unknown-image",
        "unknown-category",
        "file-name-bad",
        "box-bad",
        "box-not-finite",
        "box-no-area",
        "box-outside",
        "duplicate-annotation",
        "segmentation-missing",
        "segmentation-bad",
        "segmentation-empty",
        "rle-broken",
        *_OF_FILES,
    )
)


def cleaned(file: str, data: Any, of_images: Iterable[Finding] = ()) -> Any:
    """Mend or drop what has a known cure, until nothing of it is left.

    Args:
        file: its name.
        data: the parsed file, which stays as it is; in COCO's format.
        of_images: findings in the same file of which those about image files count.
    """
    data = copy.deepcopy(data)
    _drop(data, {(f.section, f.index) for f in of_images if f.kind in _OF_FILES})
    while True:
        dataset, findings = check_annotations(file, data)
        if dataset is None:
            raise UserError(f"{file} is not in COCO's format ({findings[0].detail}): convert it")
        fresh = _unused(dataset)
        mended, drops = False, set()
        for finding in findings:
            if finding.kind in DROPS:
                drops.add((finding.section, finding.index))
            elif finding.kind in REPAIRS:
                row = int(
                    np.searchsorted(getattr(dataset, finding.section).index, finding.index or 0)
                )
                record = data[finding.section][finding.index]
                if REPAIRS[finding.kind](dataset, row, record, finding, fresh):
                    mended = True
                else:
                    drops.add((finding.section, finding.index))
        if mended:  # before anything is dropped: a mended id may save what refers to it
            _strip_polygons(data)
        elif drops:
            _drop(data, drops)
        else:
            return data


def write_cleaned(report: Report, files: Iterable[Path], folder: Path) -> list[Path]:
    """Write a cleaned copy of each file into ``folder``, under its own name.

    Args:
        report: of these files; with images, what is wrong with those counts too.
        files: annotation files.
        folder: made where it is not there.

    Raises:
        UserError: a file has no lists to clean, or its copy would replace a file of the input.
    """
    sources = list(files)
    targets = [folder / source.name for source in sources]
    taken = {source.resolve() for source in sources}
    if len(set(targets)) < len(targets) or any(target.resolve() in taken for target in targets):
        raise UserError(f"--fix {folder} would write over its input: name another folder")
    for source, target in zip(sources, targets):
        data, reason = read_file(source)
        if reason:
            raise UserError(
                f"{source} cannot be cleaned, it is no JSON ({reason}): export it again"
            )
        findings = [finding for finding in report.findings if finding.file == str(source)]
        try:
            text = json.dumps(cleaned(str(source), data, findings))
        except RecursionError:
            raise UserError(f"{source} nests lists too deeply: export it anew") from None
        folder.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return targets


def _drop(data: Any, places: set[tuple[str, int | None]]) -> None:
    for section in SECTIONS:
        gone = {index for name, index in places if name == section}
        if gone:
            data[section] = [entry for i, entry in enumerate(data[section]) if i not in gone]


def _strip_polygons(data: Any) -> None:
    for record in data["annotations"]:
        if type(record) is dict and type(record.get("segmentation")) is list:
            parts = record["segmentation"]
            if None in parts:
                record["segmentation"] = [part for part in parts if part is not None]


def _unused(data: Dataset) -> Iterator[int]:
    used = set(data.annotations.ids.tolist())
    return (number for number in itertools.count(1) if number not in used)


def _whole(value: Any) -> int | None:
    """The integer that a text or a fraction stands for."""
    try:
        number = float(value) if type(value) is float else int(value)
        good = type(value) in (int, float, str) and number == int(number)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if good and abs(number) < MAX_ID else None


def _ids(data: Dataset, row: int, record: Record, finding: Finding, fresh: Iterator[int]) -> bool:
    annotation = finding.section == "annotations"
    for key in ("id", "image_id", "category_id") if annotation else ("id",):
        value = record.get(key)
        if type(value) is int and abs(value) < MAX_ID:
            continue
        number = _whole(value)
        if number is None and key == "id" and annotation:
            number = next(fresh)
        if number is None:
            return False
        record[key] = number
    return True


def _fresh_id(
    data: Dataset, row: int, record: Record, finding: Finding, fresh: Iterator[int]
) -> bool:
    record["id"] = next(fresh)
    return True


def _size(data: Dataset, row: int, record: Record, finding: Finding, fresh: Iterator[int]) -> bool:
    sides = [_whole(record.get(key)) for key in ("width", "height")]
    if any(side is None or side <= 0 for side in sides):
        return False
    record["width"], record["height"] = sides
    return True


def _name(data: Dataset, row: int, record: Record, finding: Finding, fresh: Iterator[int]) -> bool:
    record["name"] = f"category_{finding.id if type(finding.id) is int else finding.index}"
    return True


def _clip(data: Dataset, row: int, record: Record, finding: Finding, fresh: Iterator[int]) -> bool:
    x, y, w, h = record["bbox"]
    width, height = data.sizes[row].tolist()
    left, top = max(x, 0), max(y, 0)
    record["bbox"] = [left, top, min(x + w, width) - left, min(y + h, height) - top]
    return True


def _area(data: Dataset, row: int, record: Record, finding: Finding, fresh: Iterator[int]) -> bool:
    box = record.get("bbox")
    if type(box) is not list or len(box) != 4 or not all(map(is_number, box)):
        return False
    if not all(0 < side < LARGEST for side in box[2:]) or not box[2] * box[3] > 0:
        return False
    record["area"] = box[2] * box[3]
    return True


def _crowd(data: Dataset, row: int, record: Record, finding: Finding, fresh: Iterator[int]) -> bool:
    record["iscrowd"] = 0
    return True


def _polygon(
    data: Dataset, row: int, record: Record, finding: Finding, fresh: Iterator[int]
) -> bool:
    record["segmentation"][finding.part] = None
    return True


def _keypoints(
    data: Dataset, row: int, record: Record, finding: Finding, fresh: Iterator[int]
) -> bool:
    at = data.category_rows[row]
    count = keypoint_count(data.categories.records[at]) if at >= 0 else None
    if count is None:
        del record["keypoints"]
    else:
        record["keypoints"], record["num_keypoints"] = [0] * (3 * count), 0
    return True


def _count_keypoints(
    data: Dataset, row: int, record: Record, finding: Finding, fresh: Iterator[int]
) -> bool:
    record["num_keypoints"] = sum(flag > 0 for flag in record["keypoints"][2::3])
    return True


def _frequency(
    data: Dataset, row: int, record: Record, finding: Finding, fresh: Iterator[int]
) -> bool:
    images = len(np.unique(data.image_rows[(data.category_rows == row) & (data.image_rows >= 0)]))
    record["frequency"] = "r" if images <= 10 else "c" if images <= 100 else "f"
    return True


def _known(data: Dataset, row: int, record: Record, finding: Finding, fresh: Iterator[int]) -> bool:
    known = known_ids(data)
    for key in LISTS:
        ids = record.get(key)
        entries = ids if type(ids) is list else []
        record[key] = [i for i in entries if type(i) is int and i in known]
    return True


def _absent(
    data: Dataset, row: int, record: Record, finding: Finding, fresh: Iterator[int]
) -> bool:
    present = set(data.category_ids[(data.image_rows == row) & data.category_id_ok].tolist())
    record["neg_category_ids"] = [i for i in record["neg_category_ids"] if i not in present]
    return True


REPAIRS: dict[str, Repair] = {
    "id-missing": _ids,
    "id-not-integer": _ids,
    "id-huge": _ids,
    "annotation-id-zero": _fresh_id,
    "duplicate-annotation-id": _fresh_id,
    "image-size-bad": _size,
    "category-name-bad": _name,
    "box-over-edge": _clip,
    "area-bad": _area,
    "iscrowd-bad": _crowd,
    "polygon-bad": _polygon,
    "polygon-odd": _polygon,
    "polygon-short": _polygon,
    "polygon-no-area": _polygon,
    "keypoints-bad": _keypoints,
    "num-keypoints-wrong": _count_keypoints,
    "lvis-frequency-bad": _frequency,
    "lvis-negatives-bad": _known,
    "lvis-negative-present": _absent,
}
