"""The fast engine against pycocotools and lvis-api, on real data and on drawn data."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from centernet2.data.lvis_compat import repair_lvis
from centernet2.errors import UserError
from centernet2.evaluation import engine
from centernet2.evaluation.engine import evaluate_coco, evaluate_lvis

Records = list[dict[str, Any]]

SIDES = (0, 1, 16, 32, 64, 96, 120)
DRAWN = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def reference_coco(truth: dict[str, Any], found: Records, task: str) -> COCOeval:
    found = copy.deepcopy(found)
    for detection in found:
        if task == "segm":
            del detection["bbox"]
    with contextlib.redirect_stdout(io.StringIO()):
        index = COCO()
        index.dataset = {"info": {}, **copy.deepcopy(truth)}
        index.createIndex()
        detections = COCO()
        detections.dataset = {**index.dataset, "annotations": []}
        detections.createIndex()
        if found:
            detections = index.loadRes(found)
        evaluation = COCOeval(index, detections, task)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def reference_lvis(truth: dict[str, Any], found: Records, task: str, path: Path) -> Any:
    from lvis import LVIS, LVISEval, LVISResults

    repair_lvis()
    logging.getLogger("lvis").setLevel(logging.ERROR)
    path.write_text(json.dumps(truth))
    found = copy.deepcopy(found)
    for detection in found:
        if task == "segm":
            del detection["bbox"]
    index = LVIS(str(path))
    evaluation = LVISEval(index, LVISResults(index, found), task)
    evaluation.run()
    return evaluation


def same_coco(truth: dict[str, Any], found: Records, task: str) -> None:
    before = json.dumps([truth, found])
    with contextlib.redirect_stdout(io.StringIO()):
        ours = evaluate_coco(truth, found, task)
        ours.summarize()
    assert json.dumps([truth, found]) == before, "the input must stay as it is"
    reference = reference_coco(truth, found, task)
    np.testing.assert_allclose(ours.stats, reference.stats, atol=1e-6, rtol=0)
    for name in ("precision", "recall", "scores"):
        np.testing.assert_allclose(ours.eval[name], reference.eval[name], atol=1e-6, rtol=0)


def same_lvis(truth: dict[str, Any], found: Records, task: str, folder: Path) -> None:
    before = json.dumps([truth, found])
    ours = evaluate_lvis(truth, found, task)
    ours.summarize()
    assert json.dumps([truth, found]) == before, "the input must stay as it is"
    reference = reference_lvis(truth, found, task, folder / "truth.json")
    assert list(ours.results) == list(reference.results)
    np.testing.assert_allclose(
        list(ours.results.values()), list(reference.results.values()), atol=1e-6, rtol=0
    )
    for name in ("precision", "recall"):
        np.testing.assert_allclose(ours.eval[name], reference.eval[name], atol=1e-6, rtol=0)


def encoded(box: list[float], width: int, height: int) -> dict[str, Any]:
    left, top, w, h = (int(v) for v in box)
    mask = np.zeros((height, width), np.uint8, order="F")
    mask[max(top, 0) : top + h, max(left, 0) : left + w] = 1
    rle = mask_util.encode(mask)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def shaken(truth: dict[str, Any], levels: int, seed: int) -> Records:
    """Detections near the truth: shifted, doubled, of wrong class, with ``levels`` of score."""
    draw = random.Random(seed)
    images = {image["id"]: image for image in truth["images"]}
    classes = [category["id"] for category in truth["categories"]]
    found = []
    for annotation in truth["annotations"]:
        for _ in range(draw.randint(0, 2)):
            x, y, w, h = annotation["bbox"]
            box = [x + draw.gauss(0, 0.08) * w, y + draw.gauss(0, 0.08) * h]
            box += [max(1.0, w * draw.gauss(1, 0.1)), max(1.0, h * draw.gauss(1, 0.1))]
            image = images[annotation["image_id"]]
            detection = {
                "image_id": annotation["image_id"],
                "category_id": annotation["category_id"],
                "bbox": box,
                "score": draw.randint(0, levels) / levels,
                "segmentation": encoded(box, image["width"], image["height"]),
            }
            if draw.random() < 0.15:
                detection["category_id"] = draw.choice(classes)
            if "keypoints" in annotation:
                points = np.array(annotation["keypoints"], float).reshape(-1, 3)
                points[:, :2] += [[draw.gauss(0, 0.03 * max(w, h)) for _ in "xy"] for _ in points]
                detection["keypoints"] = points.ravel().tolist()
            found.append(detection)
    return found


def completed(path: Path) -> dict[str, Any]:
    truth: dict[str, Any] = json.loads(path.read_text())
    for annotation in truth["annotations"]:
        annotation.setdefault("iscrowd", 0)  # the reference cannot do without
    return truth


@pytest.mark.parametrize("levels", [5, 10**6])
@pytest.mark.parametrize(
    ("file", "task"),
    [
        ("bccd/val.json", "bbox"),
        ("penn_fudan/val.json", "segm"),
        ("coco_mini/annotations/instances_val2017.json", "bbox"),
        ("coco_mini/annotations/instances_val2017.json", "segm"),
        ("coco_mini/annotations/person_keypoints_val2017.json", "keypoints"),
    ],
)
def test_coco_on_real_data(shared_data: Path, file: str, task: str, levels: int) -> None:
    truth = completed(shared_data / file)
    same_coco(truth, shaken(truth, levels, seed=levels), task)


@pytest.mark.parametrize("levels", [5, 10**6])
@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_lvis_on_real_data(shared_data: Path, tmp_path: Path, task: str, levels: int) -> None:
    truth = completed(shared_data / "coco_mini" / "annotations" / "lvis_style_val.json")
    same_lvis(truth, shaken(truth, levels, seed=levels), task, tmp_path)


@st.composite
def problems(draw: st.DrawFn, kind: str) -> tuple[dict[str, Any], Records]:
    """A small data set and detections, rich in limits: areas, ties, crowds, ids, empty things."""
    few = st.integers(0, 3)
    width, height = 240, 200
    classes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True))
    some = st.lists(st.sampled_from(classes), unique=True)
    images: Records = []
    for i in draw(st.lists(st.integers(0, 50), min_size=1, max_size=3, unique=True)):
        images.append({"id": i, "width": width, "height": height, "file_name": f"{i}.jpg"})
        if kind == "lvis":
            images[-1]["neg_category_ids"] = draw(some)
            images[-1]["not_exhaustive_category_ids"] = draw(some)
    ids = [image["id"] for image in images]

    def box() -> list[float]:
        return [float(draw(few)), float(draw(few))] + [
            float(draw(st.sampled_from(SIDES))) for _ in "wh"
        ]

    def points(area: list[float]) -> list[float]:
        shown = draw(st.sampled_from([0, 1, 2]))
        return [v for i in range(17) for v in (area[0] + i * area[2] / 17, area[1] + i, shown)]

    annotations: Records = []
    first = draw(st.sampled_from([0, 1, 7]))
    for i in range(draw(st.integers(0, 6))):
        b = box()
        edge = st.sampled_from([b[2] * b[3], 1024.0, 9216.0, 1023.99, 9216.01])
        annotation = {
            "id": first + i,
            "image_id": draw(st.sampled_from(ids)),
            "category_id": draw(st.sampled_from(classes)),
            "bbox": b,
            "area": draw(edge),
            "iscrowd": int(kind != "lvis" and draw(few) == 0),
            "segmentation": encoded(b, width, height),
        }
        if draw(few) == 0:
            annotation["ignore"] = 1
        if kind == "keypoints":
            annotation["keypoints"] = points(b)
            annotation["num_keypoints"] = sum(v > 0 for v in annotation["keypoints"][2::3])
        annotations.append(annotation)
    categories: Records = [{"id": i, "name": f"class {i}"} for i in classes]
    if kind == "lvis":
        for category in categories:
            category.update(frequency=draw(st.sampled_from("rcf")), image_count=3)

    found: Records = []
    for _ in range(draw(st.integers(1 if kind == "lvis" else 0, 12))):
        b = (
            [v + draw(few) for v in draw(st.sampled_from(annotations))["bbox"]]
            if (annotations and draw(few))
            else box()
        )
        detection = {
            "image_id": draw(st.sampled_from(ids)),
            "category_id": draw(st.sampled_from([*classes, 99])),
            "bbox": b,
            "score": draw(few) / 3,
            "segmentation": encoded(b, width, height),
        }
        if kind == "keypoints":
            detection["keypoints"] = points(b)
        # 40 copies of some take an image over the limits of 100 and 300 detections
        found += [dict(detection) for _ in range(draw(st.sampled_from([1, 1, 1, 1, 40, 130])))]
    truth = {"images": images, "categories": categories, "annotations": annotations}
    return truth, found


@DRAWN
@given(problems("coco"), st.sampled_from(["bbox", "segm"]))
def test_coco_on_drawn_data(problem: tuple[dict[str, Any], Records], task: str) -> None:
    same_coco(*problem, task)


@DRAWN
@given(problems("keypoints"))
def test_keypoints_on_drawn_data(problem: tuple[dict[str, Any], Records]) -> None:
    same_coco(*problem, "keypoints")


@DRAWN
@given(problem=problems("lvis"), task=st.sampled_from(["bbox", "segm"]))
def test_lvis_on_drawn_data(
    tmp_path: Path, problem: tuple[dict[str, Any], Records], task: str
) -> None:
    truth, found = problem
    found = [d for d in found if d["category_id"] != 99] or found[:1]
    same_lvis(truth, found, task, tmp_path)


def tiny() -> tuple[dict[str, Any], Records]:
    truth = {
        "images": [{"id": 3, "width": 50, "height": 50}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 3, "category_id": 1, "bbox": [5, 5, 20, 20]}],
    }
    found = [{"image_id": 3, "category_id": 1, "bbox": [5, 5, 20, 20], "score": 0.5}]
    return truth, found


@pytest.mark.parametrize("fast", [True, False])
def test_truth_of_boxes_alone(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setattr(engine, "hotcoco", None)
    evaluation = evaluate_coco(*tiny(), "bbox")
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)
    assert evaluation.stats[3] == pytest.approx(1), "20 x 20 is small"


def test_limit_of_detections_of_ones_own() -> None:
    evaluation = evaluate_coco(*tiny(), "bbox", max_dets=[1, 10, 200])
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)
    assert evaluation.eval["precision"].shape[-1] == 3


def test_results_of_another_data_set() -> None:
    truth, found = tiny()
    found[0]["image_id"] = 4
    with pytest.raises(UserError, match="1 images that the annotations do not have.* id 4"):
        evaluate_coco(truth, found, "bbox")


def test_masks_asked_of_boxes() -> None:
    with pytest.raises(UserError, match="Annotation 1 has no 'segmentation'"):
        evaluate_coco(*tiny(), "segm")
