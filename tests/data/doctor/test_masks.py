"""Mistakes planted in real masks, keypoints and LVIS files are found, and nothing else."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from centernet2.data.doctor.check import check_annotations
from centernet2.data.doctor.run_lengths import decode_strings, measure_runs

Coco = dict[str, list[Any]]
Found = list[tuple[str, str, "int | None"]]
A, I, C = "annotations", "images", "categories"


def found(data: Any) -> Found:
    _, findings = check_annotations("f.json", data)
    return sorted(((f.kind, f.section, f.index) for f in findings), key=str)


@pytest.fixture(scope="module")
def read(shared_data: Path) -> Callable[[str], Coco]:
    texts: dict[str, str] = {}

    def load(name: str) -> Coco:
        if name not in texts:
            texts[name] = (shared_data / name).read_text()
        return json.loads(texts[name])

    return load


def planted(data: Coco, plant: Callable[[Coco], Any]) -> Found:
    """What is found after planting that was not there before."""
    changed = copy.deepcopy(data)
    plant(changed)
    before, after = found(data), found(changed)
    assert all(finding in after for finding in before)
    for finding in before:
        after.remove(finding)
    return after


def segmentation(value: Any) -> Callable[[Coco], None]:
    def change(data: Coco) -> None:
        data[A][40]["segmentation"] = value

    return change


def part(value: Any) -> Callable[[Coco], None]:
    def change(data: Coco) -> None:
        data[A][40]["segmentation"].append(value)

    return change


def bowtie(data: Coco) -> None:
    x, y, w, h = data[A][40]["bbox"]
    data[A][40]["segmentation"] = [[x, y, x + w, y + h, x + w, y, x + w / 2, y + h, x, y + h / 2]]
    data[A][40]["area"] = 0.5 * w * h


PLANTED = [
    (lambda d: d[A][40].pop("segmentation"), ["segmentation-missing"]),
    (segmentation(None), ["segmentation-missing"]),
    (segmentation("x"), ["segmentation-bad"]),
    (segmentation([]), ["segmentation-empty"]),
    (segmentation([7]), ["polygon-bad"]),
    (part("x"), ["polygon-bad"]),
    (part([1, 2, 3, 4, 5, True]), ["polygon-bad"]),
    (part([1, 2, 3, 4, 5, math.nan]), ["polygon-bad"]),
    (part([math.nan, 2, 3, 4, 5, 10**400]), ["polygon-bad"]),
    (part([1, 2.5, 3, 4, 5, 10**400]), ["polygon-bad"]),
    (part([1, 2, 3, 4, 5, 6, 7]), ["polygon-odd"]),
    (part([1, 2, 3, 4]), ["polygon-short"]),
    (part([]), ["polygon-short"]),
    (lambda d: d[A][40].update(area=d[A][40]["area"] * 2), ["area-mask-disagree"]),
    (lambda d: d[A][40].update(bbox=[0, 0, 630, 300]), ["box-mask-disagree"]),
    (segmentation({"size": [3, 4], "counts": [12]}), ["rle-broken"]),
    (segmentation({"size": "x", "counts": [12]}), ["rle-broken"]),
    (segmentation({"counts": "12"}), ["rle-broken"]),
]


@pytest.mark.parametrize(("plant", "kinds"), PLANTED)
def test_planted_polygon_mistakes(
    read: Callable[[str], Coco], plant: Callable[[Coco], Any], kinds: list[str]
) -> None:
    data = read("coco_mini/annotations/instances_train2017.json")
    assert planted(data, plant) == [(kind, A, 40) for kind in kinds]


def test_crossing_outline_is_found_and_a_touching_one_is_not(read: Callable[[str], Coco]) -> None:
    data = read("coco_mini/annotations/instances_train2017.json")
    kinds = [kind for kind, _, _ in planted(data, bowtie)]
    assert "polygon-self-crossing" in kinds
    touching = [0.0, 0, 20, 0, 20, 20, 10, 0.0, 0, 20]  # a point lies on another's edge
    assert "polygon-self-crossing" not in [kind for kind, _, _ in planted(data, part(touching))]


def test_polygon_without_area(read: Callable[[str], Coco]) -> None:
    data = read("coco_mini/annotations/instances_train2017.json")
    x, y, w, h = data[A][40]["bbox"]
    line = [x, y, x + w / 2, y + h / 2, x + w, y + h]
    assert planted(data, part(line)) == [("polygon-no-area", A, 40)]


@pytest.mark.parametrize(
    ("counts", "kind"),
    [
        ("", "rle-broken"),
        ("not\x01rle", "rle-broken"),
        ("é", "rle-broken"),
        ("P" * 40, "rle-broken"),  # a number that never ends
        ([5, -1, 3], "rle-broken"),
        ([1, 2], "rle-broken"),
        ([], "rle-broken"),
        ([1.5, 2], "rle-broken"),
        ([10**400], "rle-broken"),
        (None, "rle-broken"),
        ([414 * 455], "segmentation-empty"),
        ([414 * 455, 0], "segmentation-empty"),
    ],
)
def test_planted_run_length_mistakes(read: Callable[[str], Coco], counts: Any, kind: str) -> None:
    data = read("penn_fudan/train.json")
    assert data[A][0]["segmentation"]["size"] == [414, 455]
    found = planted(data, lambda d: d[A][0]["segmentation"].update(counts=counts))
    assert found == [(kind, A, 0)]


def test_a_run_length_string_cut_off_is_found(read: Callable[[str], Coco]) -> None:
    data = read("penn_fudan/train.json")

    def cut(changed: Coco) -> None:
        mask = changed[A][5]["segmentation"]
        mask["counts"] = mask["counts"][: len(mask["counts"]) // 2]

    assert planted(data, cut) == [("rle-broken", A, 5)]


def test_run_lengths_agree_with_pycocotools() -> None:
    rng = np.random.default_rng(0)
    masks = []
    for density in (0.0, 0.01, 0.3, 0.5, 0.97, 1.0):
        for height, width in ((1, 1), (1, 9), (9, 1), (13, 7), (40, 60)):
            blocks = rng.random((height, width)) < density
            masks.append(np.asfortranarray(blocks.astype(np.uint8)))
    rles = [coco_mask.encode(mask) for mask in masks]
    runs = decode_strings([rle["counts"] for rle in rles])
    shapes = measure_runs([r for r in runs if r is not None], np.array([len(m) for m in masks]))
    for i, (mask, rle) in enumerate(zip(masks, rles)):
        assert shapes.total[i] == mask.size
        assert shapes.area[i] == mask.sum() == coco_mask.area(rle)
        expected = coco_mask.toBbox(rle)
        if mask.any():
            ys, xs = np.nonzero(mask)
            tight = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert shapes.box[i].tolist() == tight
            np.testing.assert_array_equal(shapes.box[i], expected)
        else:
            assert np.isnan(shapes.box[i]).all()


def test_uncompressed_crowds_of_coco_can_be_read(read: Callable[[str], Coco]) -> None:
    data = read("coco_mini/annotations/instances_train2017.json")
    crowds = [a for a in data[A] if a["iscrowd"]]
    assert crowds and isinstance(crowds[0]["segmentation"]["counts"], list)
    ids = {a["id"] for a in crowds}
    _, findings = check_annotations("f.json", data)
    # One crowd's area is not that of its own mask, in COCO itself.
    (odd,) = (f for f in findings if f.section == A and f.id in ids)
    mask = data[A][odd.index or 0]["segmentation"]
    area = coco_mask.area(coco_mask.frPyObjects(mask, *mask["size"]))
    assert odd.kind == "area-mask-disagree" and odd.detail == f"area 3119, mask {area}"


KEYPOINTS = [
    (lambda d: d[A][3].update(keypoints=[1, 2]), ("keypoints-bad", A, 3)),
    (lambda d: d[A][3].update(keypoints="x"), ("keypoints-bad", A, 3)),
    (lambda d: d[A][3].pop("keypoints"), ("keypoints-bad", A, 3)),
    (lambda d: d[A][3]["keypoints"].__setitem__(2, 3), ("keypoints-bad", A, 3)),
    (lambda d: d[A][3]["keypoints"].__setitem__(0, math.nan), ("keypoints-bad", A, 3)),
    (lambda d: d[A][3].update(num_keypoints=99), ("num-keypoints-wrong", A, 3)),
    (lambda d: d[A][3].pop("num_keypoints"), ("num-keypoints-wrong", A, 3)),
    (lambda d: d[C][0]["skeleton"].append([1, 18]), ("skeleton-bad", C, 0)),
    (lambda d: d[C][0].update(skeleton=5), ("skeleton-bad", C, 0)),
]


@pytest.mark.parametrize(("plant", "expected"), KEYPOINTS)
def test_planted_keypoint_mistakes(
    read: Callable[[str], Coco], plant: Callable[[Coco], Any], expected: tuple[str, str, int]
) -> None:
    data = read("coco_mini/annotations/person_keypoints_train2017.json")
    assert planted(data, plant) == [expected]


def test_keypoint_outside(read: Callable[[str], Coco]) -> None:
    data = read("coco_mini/annotations/person_keypoints_train2017.json")
    row = next(i for i, a in enumerate(data[A]) if a["num_keypoints"] > 3)

    def plant(changed: Coco) -> None:
        points = changed[A][row]["keypoints"]
        at = next(i for i in range(0, len(points), 3) if points[i + 2])
        points[at] = 5000

    assert planted(data, plant) == [("keypoint-outside", A, row)]


LVIS = [
    (lambda d: d[C][4].update(frequency="x"), ("lvis-frequency-bad", C, 4)),
    (lambda d: d[C][4].pop("frequency"), ("lvis-frequency-bad", C, 4)),
    (lambda d: d[C][4].update(frequency=["r"]), ("lvis-frequency-bad", C, 4)),
    (lambda d: d[I][4].pop("neg_category_ids"), ("lvis-negatives-bad", I, 4)),
    (lambda d: d[I][4]["neg_category_ids"].append(999), ("lvis-negatives-bad", I, 4)),
    (lambda d: d[I][4].update(not_exhaustive_category_ids=[[]]), ("lvis-negatives-bad", I, 4)),
]


@pytest.mark.parametrize(("plant", "expected"), LVIS)
def test_planted_lvis_mistakes(
    read: Callable[[str], Coco], plant: Callable[[Coco], Any], expected: tuple[str, str, int]
) -> None:
    data = read("coco_mini/annotations/lvis_style_train.json")
    assert planted(data, plant) == [expected]


def test_lvis_negative_that_is_annotated(read: Callable[[str], Coco]) -> None:
    data = read("coco_mini/annotations/lvis_style_train.json")
    image = next(i for i, r in enumerate(data[I]) if r["id"] == data[A][0]["image_id"])

    def plant(changed: Coco) -> None:
        changed[I][image]["neg_category_ids"].append(changed[A][0]["category_id"])

    assert planted(data, plant) == [("lvis-negative-present", I, image)]
