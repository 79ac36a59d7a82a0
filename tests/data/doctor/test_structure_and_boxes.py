"""Mistakes planted in a copy of a real file are found, where they are, and nothing else."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any, Callable

import pytest

from centernet2.data.doctor import KINDS, check_dataset

Coco = dict[str, list[Any]]


@pytest.fixture(scope="module")
def clean(shared_data: Path) -> Coco:
    return json.loads((shared_data / "bccd" / "val.json").read_text())


def found(tmp_path: Path, data: Any) -> set[tuple[str, str, int | None]]:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(data))
    return {(f.kind, f.section, f.index) for f in check_dataset(path).findings}


def annotation(key: str, value: Any) -> Callable[[Coco], None]:
    def change(data: Coco) -> None:
        data["annotations"][7][key] = value

    return change


def without(section: str, key: str) -> Callable[[Coco], None]:
    def change(data: Coco) -> None:
        del data[section][1][key]

    return change


def appended(section: str, **changes: Any) -> Callable[[Coco], None]:
    def change(data: Coco) -> None:
        data[section].append({**data[section][0], **changes})

    return change


A, I, C = "annotations", "images", "categories"
PLANTED = [
    (annotation("bbox", [1, 2, 0, 5]), ("box-no-area", A, 7)),
    (annotation("bbox", [30, 40, -3, 5]), ("box-no-area", A, 7)),
    (annotation("bbox", [1, 2, math.nan, 5]), ("box-not-finite", A, 7)),
    (annotation("bbox", [1, 2, math.inf, 5]), ("box-not-finite", A, 7)),
    (annotation("bbox", [10**400, 2.5, 4, 5]), ("box-not-finite", A, 7)),
    (annotation("bbox", [640, 2, 4, 5]), ("box-outside", A, 7)),
    (annotation("bbox", [-10, 2, 5, 5]), ("box-outside", A, 7)),
    (annotation("bbox", [600, 2, 42, 5]), ("box-over-edge", A, 7)),
    (annotation("bbox", [-1.5, 2, 42, 5]), ("box-over-edge", A, 7)),
    (annotation("bbox", [1, 2, 0.5, 5]), ("box-tiny", A, 7)),
    (annotation("bbox", ["1", 2, 3, 5]), ("box-bad", A, 7)),
    (annotation("bbox", [1, 2, 3]), ("box-bad", A, 7)),
    (annotation("bbox", None), ("box-bad", A, 7)),
    (annotation("area", "9"), ("area-bad", A, 7)),
    (annotation("area", math.nan), ("area-bad", A, 7)),
    (without(A, "area"), ("area-bad", A, 1)),
    (annotation("iscrowd", 2), ("iscrowd-bad", A, 7)),
    (without(A, "iscrowd"), ("iscrowd-bad", A, 1)),
    (annotation("category_id", 99), ("unknown-category", A, 7)),
    (annotation("image_id", 10**6), ("unknown-image", A, 7)),
    (annotation("image_id", "1"), ("id-not-integer", A, 7)),
    (annotation("category_id", 1.5), ("id-not-integer", A, 7)),
    (annotation("id", True), ("id-not-integer", A, 7)),
    (annotation("id", 2**53), ("id-huge", A, 7)),
    (annotation("id", 0), ("annotation-id-zero", A, 7)),
    (without(A, "id"), ("id-missing", A, 1)),
    (without(A, "image_id"), ("id-missing", A, 1)),
    (appended(A, bbox=[2, 2, 9, 9]), ("duplicate-annotation-id", A, 978)),
    (appended(A, id=10**6), ("duplicate-annotation", A, 978)),
    (appended(I, file_name="other.jpg"), ("duplicate-image-id", I, 73)),
    (appended(C, name="other"), ("duplicate-category-id", C, 3)),
    (lambda d: d[A].insert(3, [1]), ("record-not-object", A, 3)),
    (lambda d: d[C].append(None), ("record-not-object", C, 3)),
    (lambda d: d[I][4].update(file_name=""), ("file-name-bad", I, 4)),
    (lambda d: d[I][4].update(file_name=7), ("file-name-bad", I, 4)),
    (lambda d: d[I][4].update(file_name="a\x00.jpg"), ("text-broken", I, 4)),
    (lambda d: d[C][1].update(name="\ud800"), ("text-broken", C, 1)),
    (lambda d: d[I][4].update(file_name=d[I][2]["file_name"]), ("duplicate-file-name", I, 4)),
    (lambda d: d[I][4].update(width="640"), ("image-size-bad", I, 4)),
    (lambda d: d[I][4].update(height=0), ("image-size-bad", I, 4)),
    (lambda d: d[C][2].update(name="RBC"), ("duplicate-category-name", C, 2)),
    (lambda d: d[C][2].update(name=" "), ("category-name-bad", C, 2)),
    (appended(I, id=10**6, file_name="other.jpg"), ("image-without-annotations", I, 73)),
    (appended(C, id=4, name="other"), ("category-unused", C, 3)),
]


def test_real_file_is_clean(tmp_path: Path, clean: Coco) -> None:
    assert found(tmp_path, clean) == set()


@pytest.mark.parametrize(("plant", "expected"), PLANTED)
def test_exactly_the_planted_mistake_is_found(
    tmp_path: Path, clean: Coco, plant: Callable[[Coco], Any], expected: tuple[str, str, int]
) -> None:
    data = copy.deepcopy(clean)
    plant(data)
    assert found(tmp_path, data) == {expected}


def test_many_mistakes_at_once_are_each_found(tmp_path: Path, clean: Coco) -> None:
    data = copy.deepcopy(clean)
    expected = set()
    for row, value, kind in ((3, [0, 0, 0, 1], "box-no-area"), (9, "x", "box-bad")):
        data[A][row]["bbox"] = value
        expected.add((kind, A, row))
    data[A][5]["category_id"] = -4
    expected.add(("unknown-category", A, 5))
    assert found(tmp_path, data) == expected


def test_three_equal_annotations_leave_the_first(tmp_path: Path, clean: Coco) -> None:
    data = copy.deepcopy(clean)
    data[A] += [{**data[A][10], "id": 10**6 + i} for i in range(2)]
    path = tmp_path / "train.json"
    path.write_text(json.dumps(data))
    findings = check_dataset(path).findings
    assert [f.index for f in findings] == [978, 979]
    assert all("as annotations[10]" in f.detail for f in findings)


def test_gap_and_imbalance_are_notes_of_the_whole_file(tmp_path: Path, clean: Coco) -> None:
    data = copy.deepcopy(clean)
    data[C].append({"id": 90, "name": "rare"})
    data[A][0]["category_id"] = 90
    assert found(tmp_path, data) == {("category-gap", C, None), ("class-imbalance", C, None)}


def test_unicode_names_are_fine(tmp_path: Path, clean: Coco) -> None:
    data = copy.deepcopy(clean)
    data[C][0]["name"] = "красные 赤血球 é 🩸"
    data[I][0]["file_name"] = "画像/ü 1.jpg"
    assert found(tmp_path, data) == set()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "json-unreadable"),
        (b'{"images": [', "json-unreadable"),
        (b"\xff\xfe\xfd", "json-unreadable"),
        (b"[" * 100_000, "json-unreadable"),
        (b"9" * 5000, "json-unreadable"),
        (b"[]", "not-coco"),
        (b"null", "not-coco"),
        (b'{"images": [], "annotations": {}}', "not-coco"),
    ],
)
def test_a_file_that_is_not_coco_is_one_finding(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "train.json"
    path.write_bytes(content)
    report = check_dataset(path)
    assert [f.kind for f in report.findings] == [kind]
    assert report.exit_status == 1


def test_lvis_needs_no_crowd_flag(tmp_path: Path, shared_data: Path) -> None:
    data = json.loads((shared_data / "coco_mini/annotations/lvis_style_train.json").read_text())
    assert "iscrowd" not in data[A][0]
    # What there is to find in these labels is unrelated: two outlines do cross themselves
    assert {kind for kind, _, _ in found(tmp_path, data)} == {
        "class-imbalance",
        "polygon-self-crossing",
    }


def test_exit_status_counts_errors_alone(tmp_path: Path, clean: Coco) -> None:
    data = copy.deepcopy(clean)
    data[A][7]["id"] = 0
    path = tmp_path / "train.json"
    path.write_text(json.dumps(data))
    report = check_dataset(path)
    assert KINDS[report.findings[0].kind].severity == "warning"
    assert report.exit_status == 0
