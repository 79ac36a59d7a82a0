from __future__ import annotations

import copy
import json
import random
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from centernet2.evaluation.report import write_report
from centernet2.evaluation.report.calibration import calibrate
from centernet2.evaluation.report.files import load_files
from centernet2.evaluation.report.matching import ERROR_KINDS, match


def make_truth(boxes, classes=("a", "b"), images=2):
    """Boxes are (image, class, x, y, w, h, crowd)."""
    return {
        "images": [{"id": i, "width": 100, "height": 100, "file_name": "x"} for i in range(images)],
        "categories": [{"id": 10 * k + 3, "name": n} for k, n in enumerate(classes)],
        "annotations": [
            {
                "id": i,
                "image_id": b[0],
                "category_id": 10 * b[1] + 3,
                "bbox": list(b[2:6]),
                "area": b[4] * b[5],
                "iscrowd": b[6],
            }
            for i, b in enumerate(boxes)
        ],
    }


def detection(image, label, x, y, w, h, score):
    box = [x, y, w, h]
    return {"image_id": image, "category_id": 10 * label + 3, "bbox": box, "score": score}


def loaded(folder, truth, found):
    (folder / "gt.json").write_text(json.dumps(truth))
    (folder / "dt.json").write_text(json.dumps(found))
    return load_files(folder / "dt.json", folder / "gt.json")


def report(folder, truth, found):
    loaded(folder, truth, found)
    return write_report(folder / "dt.json", folder / "gt.json", folder / "out")


def test_each_kind_of_error_is_told_from_the_others(tmp_path):
    truth = make_truth(
        [(0, 0, 10, 10, 20, 20, 0), (0, 1, 60, 60, 20, 20, 0), (1, 0, 0, 0, 9, 9, 0)]
    )
    found = [
        detection(0, 0, 10, 10, 20, 20, 0.9),  # hit
        detection(0, 0, 11, 10, 20, 20, 0.8),  # duplicate
        detection(0, 0, 20, 10, 20, 20, 0.7),  # localisation: IoU 1/3
        detection(0, 0, 60, 60, 20, 20, 0.6),  # classification
        detection(0, 0, 70, 60, 20, 20, 0.5),  # both
        detection(0, 1, 80, 10, 5, 5, 0.4),  # background
    ]
    matches = match(loaded(tmp_path, truth, found))
    kinds = [ERROR_KINDS[k] if k >= 0 else "hit" for k in matches.kind]
    assert kinds == ["hit", "duplicate", "localisation", "classification", "both", "background"]
    assert matches.missed().sum() == 1  # image 1; the object of the class error is explained


def test_a_crowd_neither_counts_for_nor_against(tmp_path):
    truth = make_truth([(0, 0, 0, 0, 50, 50, 1)])
    matches = match(loaded(tmp_path, truth, [detection(0, 0, 10, 10, 5, 5, 0.9)]))
    assert matches.kind.tolist() == [-2]
    assert matches.missed().sum() == 0 and matches.confusion(2, 0).sum() == 0


def iou(a, b):
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


sides = st.integers(1, 12)
places = st.tuples(st.integers(0, 1), st.integers(0, 1), sides, sides, sides, sides)


@settings(max_examples=60, deadline=None)
@given(st.lists(places, max_size=6), st.lists(places, max_size=8))
def test_matches_agree_with_loops_over_boxes(tmp_path_factory, objects, boxes):
    truth = make_truth([(*o, 0) for o in objects])
    found = [detection(*b, 0.99 - 0.01 * i) for i, b in enumerate(boxes)]
    matches = match(loaded(tmp_path_factory.mktemp("m"), truth, found))
    hits = 0
    used = set()
    for box in boxes:
        best, best_iou = None, 0.5
        for j, o in enumerate(objects):
            overlap = iou(box[2:], o[2:])
            better = overlap > best_iou + 1e-12 or (best is None and overlap >= 0.5 - 1e-12)
            if o[:2] == box[:2] and j not in used and better:
                best, best_iou = j, overlap
        if best is not None:
            used.add(best)
            hits += 1
    assert (matches.kind == -1).sum() == hits
    confusion = matches.confusion(2, 0)
    sums = confusion.sum(axis=1)
    assert sums[:2].tolist() == [sum(o[1] == k for o in objects) for k in (0, 1)]
    columns = confusion.sum(axis=0)
    assert columns[:2].tolist() == [sum(b[1] == k for b in boxes) for k in (0, 1)]


def test_calibration_error_is_the_weighted_gap():
    scores, correct = np.array([0.95, 0.95, 0.25, 1.0]), np.array([True, False, False, True])
    result = calibrate(scores, correct)
    assert result.counts[[2, 9]].tolist() == [1, 3]
    assert result.error == pytest.approx((abs(2.9 / 3 - 2 / 3) * 3 + 0.25) / 4)
    assert np.isnan(calibrate(scores[:0], correct[:0]).error)


@pytest.mark.parametrize("classes", [("one",), ("a", "b"), tuple(f"class {i}" for i in range(300))])
def test_perfect_detections_have_no_errors(classes, tmp_path):
    truth = make_truth([(i % 2, 0, 10 * i, 10, 9, 9, 0) for i in range(6)], classes)
    found = [detection(i % 2, 0, 10 * i, 10, 9, 9, 1.0) for i in range(6)]
    result = report(tmp_path, truth, found)
    assert result["metrics"]["box"]["AP"] == pytest.approx(100)
    assert result["false_discovery"]["box"]["FD"] == pytest.approx(0)
    assert result["calibration_error"] == 0
    assert all(set(v.values()) == {0} for v in result["errors"]["box"].values())


@pytest.mark.parametrize("objects", [[], [(0, 0, 1, 1, 20, 20, 0)]])
def test_no_detections_and_no_objects_still_make_a_page(objects, tmp_path):
    result = report(tmp_path, make_truth(objects), [])
    assert result["metrics"]["box"]["AP"] == (0 if objects else None)
    assert result["errors"]["box"]["missed"]["all"] == len(objects)
    assert (tmp_path / "out" / "per_class.csv").read_text().count("\n") == 3
    json.loads((tmp_path / "out" / "report.json").read_text(), parse_constant=pytest.fail)


def test_the_page_is_well_formed_and_escaped(tmp_path):
    truth = make_truth([(0, 0, 1, 1, 20, 20, 0)], ('<script>alert("&")</script>', "$x_"))
    report(tmp_path, truth, [detection(0, 1, 1, 1, 20, 20, 0.9)])
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in html and "http" not in html
    ET.fromstring(html.removeprefix("<!DOCTYPE html>"))


@pytest.mark.slow
def test_figures_of_real_data_are_those_of_pycocotools(shared_data, tmp_path):
    path = shared_data / "bccd" / "val.json"
    truth, chance = json.loads(path.read_text()), random.Random(0)
    found = [
        {
            "image_id": a["image_id"],
            "category_id": a["category_id"],
            "bbox": [v + chance.uniform(-9, 9) for v in a["bbox"][:2]] + a["bbox"][2:],
            "score": chance.random(),
        }
        for a in truth["annotations"]
    ]
    (tmp_path / "dt.json").write_text(json.dumps(found))
    result = write_report(tmp_path / "dt.json", path, tmp_path)
    for ious, figure in (
        (np.linspace(0.5, 0.95, 10), result["metrics"]["box"]["AP"]),
        (np.linspace(0.05, 0.5, 10), 100 - result["false_discovery"]["box"]["FD"]),
        ([0.25], 100 - result["false_discovery"]["box"]["FD25"]),
    ):
        api = COCO(str(path))
        api.dataset.setdefault("info", {})
        expected = COCOeval(api, api.loadRes(copy.deepcopy(found)), "bbox")
        expected.params.iouThrs = np.asarray(ious)
        expected.evaluate()
        expected.accumulate()
        precision = expected.eval["precision"][:, :, :, 0, 2]
        assert figure == pytest.approx(100 * precision[precision > -1].mean(), abs=1e-6)
