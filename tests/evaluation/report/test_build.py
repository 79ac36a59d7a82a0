from __future__ import annotations

import copy
import json
import random
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from centernet2.evaluation.report import write_report
from centernet2.evaluation.report.calibration import calibrate

from .scenes import detection, loaded, make_federated, make_truth


def report(folder, truth, found):
    loaded(folder, truth, found)
    return write_report(folder / "dt.json", folder / "gt.json", folder / "out")


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


def test_lvis_has_its_figures_on_the_page(tmp_path):
    truth = make_truth([(0, k, 10 * k, 10, 9, 9, 0) for k in range(4)], tuple("abcd"))
    make_federated(truth, {0: [], 1: [2]}, {})
    found = [detection(0, k, 10 * k, 10, 9, 9, 0.9) for k in (0, 3)]
    result = report(tmp_path, truth, [*found, detection(1, 2, 0, 0, 9, 9, 0.9)])
    metrics = result["metrics"]["box"]
    assert [metrics[k] for k in ("APr", "APc", "APf")] == pytest.approx([100, 0, 0])
    assert [c["frequency"] for c in result["per_class"]] == ["rare", "common", "frequent", "rare"]
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<th>APr</th>" in html and "<td>100.0</td>" in html


def test_what_the_caller_tells_is_on_the_page(tmp_path):
    loaded(tmp_path, make_truth([(0, 0, 1, 1, 20, 20, 0)]), [])
    about = {"config": "configs/<mine>.yaml", "weights": "", "data set": "b & w"}
    result = write_report(tmp_path / "dt.json", tmp_path / "gt.json", tmp_path / "out", about=about)
    assert result["about"].items() >= about.items()
    assert {"date", "versions", "results", "annotations"} <= result["about"].keys()
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "configs/&lt;mine&gt;.yaml" in html and "b &amp; w" in html
    assert "<dt>weights" not in html  # nothing was told


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
