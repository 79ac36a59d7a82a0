"""Figures of any IoU and any size of objects, against the references."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from centernet2.data.lvis_compat import repair_lvis
from centernet2.evaluation.report.figures import measure
from centernet2.evaluation.report.files import load_files
from centernet2.evaluation.report.precision import precisions

from .scenes import detection, loaded, make_truth

IOUS = np.array([0.05, 0.3, 0.5, 0.8])
AREAS = {"all": (0, 1e10), "tiny": (0, 900.0), "odd": (900.5, 5000.0)}


def shaken(path):
    """A detection near each object, and one that is far off."""
    truth, chance = json.loads(path.read_text()), np.random.default_rng(0)
    found = []
    for a in truth["annotations"]:
        x, y, w, h = a["bbox"]
        for spread in (0.15, 0.6):
            dx, dy = chance.uniform(-spread, spread, 2) * (w, h)
            box = [max(x + dx, 0), max(y + dy, 0), w, h]
            keys = {k: a[k] for k in ("image_id", "category_id")}
            found.append({**keys, "bbox": box, "score": round(float(chance.random()), 2)})
    return found


def test_coco(shared_data, tmp_path):
    path = shared_data / "coco_mini" / "annotations" / "instances_val2017.json"
    found = shaken(path)
    (tmp_path / "dt.json").write_text(json.dumps(found))
    precision, recall = precisions(load_files(tmp_path / "dt.json", path), IOUS, areas=AREAS)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        expected = COCOeval(truth, truth.loadRes(copy.deepcopy(found)), "bbox")
        expected.params.iouThrs, expected.params.maxDets = IOUS, [100]
        expected.params.areaRng = list(AREAS.values())
        expected.params.areaRngLbl = list(AREAS)
        expected.evaluate()
        expected.accumulate()
    np.testing.assert_allclose(precision, expected.eval["precision"][..., 0], atol=1e-9)
    np.testing.assert_allclose(recall, expected.eval["recall"][..., 0], atol=1e-9)
    assert (precision[..., 1:] > 0).any(axis=(0, 1, 2)).all()


@pytest.mark.parametrize("ignored", [False, True])  # the fast engine, and the reference
def test_lvis(ignored, shared_data, tmp_path):
    from lvis import LVIS, LVISEval, LVISResults

    path = tmp_path / "gt.json"
    truth = json.loads((shared_data / "coco_mini/annotations/lvis_style_val.json").read_text())
    if ignored:
        truth["annotations"][0]["ignore"] = 1
    path.write_text(json.dumps(truth))
    found = shaken(path)
    (tmp_path / "dt.json").write_text(json.dumps(found))
    data = load_files(tmp_path / "dt.json", path)
    assert data.federated
    precision, recall = precisions(data, IOUS, areas=AREAS)

    repair_lvis()
    logging.getLogger("lvis").setLevel(logging.ERROR)
    index = LVIS(str(path))
    expected = LVISEval(index, LVISResults(index, found), "bbox")
    expected.params.iou_thrs, expected.params.area_rng = IOUS, list(AREAS.values())
    expected.params.area_rng_lbl = list(AREAS)
    expected.evaluate()
    expected.accumulate()
    np.testing.assert_allclose(precision, expected.eval["precision"], atol=1e-9)
    np.testing.assert_allclose(recall, expected.eval["recall"], atol=1e-9)

    headline = measure(data, "bbox", 0.3).headline
    index = LVIS(str(path))
    expected = LVISEval(index, LVISResults(index, found), "bbox")
    expected.run()
    for name in ("AP", "AP50", "APs", "APm", "APl", "APr", "APc", "APf"):
        figure = expected.results[name]
        ours = headline[name]
        assert (np.isnan(ours) and figure == -1) or ours == pytest.approx(100 * figure), name


def test_lvis_without_detections(shared_data, tmp_path):
    path = shared_data / "coco_mini/annotations/lvis_style_val.json"
    (tmp_path / "dt.json").write_text("[]")
    assert measure(load_files(tmp_path / "dt.json", path), "bbox", 0.3).headline["AP"] == 0


def test_bins_of_sizes_hold_every_object_once(tmp_path):
    widths = (1, 7, 8, 9, 16, 31, 32, 33, 64, 600)
    truth = make_truth([(i, 0, 0, 0, w, w, 0) for i, w in enumerate(widths)], images=len(widths))
    found = [detection(i, 0, 0, 0, w, w, 0.9) for i, w in enumerate(widths) if w != 33]
    sizes = measure(loaded(tmp_path, truth, found), "bbox", 0.3).sizes
    assert [row["from"] for row in sizes] == [0, 8, 16, 32, 64, 128, 256, 512]
    assert [row["objects"] for row in sizes] == [2, 2, 2, 2, 1, 0, 0, 1]
    assert [row["AR"] for row in sizes] == pytest.approx(
        [100, 100, 100, 50, 100, np.nan, np.nan, 100], nan_ok=True
    )
