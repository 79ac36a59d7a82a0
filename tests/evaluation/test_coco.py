"""Our evaluators against Detectron2's: the same names, order and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, LVISEvaluator
from detectron2.structures import Boxes, Instances

from centernet2.data.datasets.lvis_format import register_lvis_format
from centernet2.errors import UserError
from centernet2.evaluation import CocoEvaluator, LvisEvaluator


def guesses(record: dict[str, Any], classes: int, masks: bool, keypoints: bool) -> Instances:
    """Drawn detections near the truth of an image."""
    torch.manual_seed(record["image_id"])
    truth = [a for a in record["annotations"] if not a.get("iscrowd", 0)]
    count, size = 2 * len(truth), (record["height"], record["width"])
    boxes = torch.tensor([a["bbox"] for a in truth] * 2, dtype=torch.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    found = Instances(size)
    found.pred_boxes = Boxes(boxes + 4 * torch.randn(count, 4))
    found.scores = torch.rand(count)
    named = torch.tensor([a["category_id"] for a in truth] * 2, dtype=torch.long)
    found.pred_classes = torch.where(
        torch.rand(count) < 0.8, named, torch.randint(classes, (count,))
    )
    if masks:
        rows, columns = torch.arange(size[0])[:, None], torch.arange(size[1])[None]
        left, top, right, bottom = (v[:, None, None] for v in found.pred_boxes.tensor.unbind(1))
        across = (columns >= left) & (columns < right)
        found.pred_masks = across & (rows >= top) & (rows < bottom)
    if keypoints:
        points = torch.tensor([a["keypoints"] for a in truth] * 2).reshape(-1, 17, 3).float()
        found.pred_keypoints = points + torch.randn(points.shape)
    return found


def results(
    evaluator: DatasetEvaluator, records: list[Any], masks: bool, keypoints: bool = False
) -> dict[str, Any]:
    evaluator.reset()
    classes = len(evaluator._metadata.thing_classes)
    for record in records:
        evaluator.process([record], [{"instances": guesses(record, classes, masks, keypoints)}])
    return dict(evaluator.evaluate())


def registered(register: Any, name: str, *arguments: Any) -> list[Any]:
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    register(name, *arguments)
    return list(DatasetCatalog.get(name))


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert list(ours) == list(theirs)
    for task, figures in theirs.items():
        assert list(ours[task]) == list(figures)
        assert ours[task] == pytest.approx(figures, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(("masks", "kind"), [(True, "instances"), (False, "person_keypoints")])
def test_coco(shared_data: Path, tmp_path: Path, masks: bool, kind: str) -> None:
    folder = shared_data / "coco_mini"
    file = folder / "annotations" / f"{kind}_val2017.json"
    name = f"same_{kind}"
    records = registered(register_coco_instances, name, {}, str(file), str(folder / "val2017"))
    keypoints = kind != "instances"
    theirs = COCOEvaluator(name, use_fast_impl=False, output_dir=str(tmp_path / "theirs"))
    ours = CocoEvaluator(name, output_dir=str(tmp_path / "ours"))
    expected = results(theirs, records, masks, keypoints)
    same(results(ours, records, masks, keypoints), expected)
    written = [
        json.loads((tmp_path / who / "coco_instances_results.json").read_text())
        for who in ("ours", "theirs")
    ]
    assert written[0] == written[1]
    assert [p.name for p in (tmp_path / "ours").iterdir()] == ["coco_instances_results.json"]


def test_lvis(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "coco_mini"
    file = folder / "annotations" / "lvis_style_val.json"
    records = registered(register_lvis_format, "same_lvis", str(file), str(folder))
    theirs = LVISEvaluator("same_lvis", output_dir=str(tmp_path / "theirs"))
    ours = LvisEvaluator("same_lvis", output_dir=str(tmp_path / "ours"))
    same(results(ours, records, masks=True), results(theirs, records, masks=True))
    assert (tmp_path / "ours" / "lvis_instances_results.json").is_file()


def test_file_without_crowds_and_areas(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "bccd"
    data = json.loads((folder / "val.json").read_text())
    for annotation in data["annotations"]:
        annotation.pop("iscrowd", None)
        annotation.pop("area", None)
    (tmp_path / "bare.json").write_text(json.dumps(data))
    bare = str(tmp_path / "bare.json")
    records = registered(register_coco_instances, "bare", {}, bare, str(folder / "images"))
    found = results(CocoEvaluator("bare"), records, masks=False)
    assert 0 < found["bbox"]["AP"] < 100


def test_class_that_the_data_set_lacks(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "bccd"
    records = registered(
        register_coco_instances, "few", {}, str(folder / "val.json"), str(folder / "images")
    )
    evaluator = CocoEvaluator("few", output_dir=str(tmp_path))
    evaluator.reset()
    found = guesses(records[0], 3, masks=False, keypoints=False)
    found.pred_classes += 3
    with pytest.raises(ValueError, match="has class .*3 classes: set the model's NUM"):
        evaluator.process([records[0]], [{"instances": found}])


@pytest.mark.parametrize(
    ("truth", "detected", "sigmas", "message"),
    [
        (5, 17, (), r"have 5, detections 17 .* is for 17, those of COCO, as it is empty; give all"),
        (17, 5, (), r"have 17, detections 5 .* is for 17"),
        (5, 5, (), r"have 5, detections 5 .* is for 17"),
        (5, 5, [0.1] * 4, r"have 5, detections 5 .* is for 4; give all three the same number"),
        (5, 5, [0.1] * 5, ""),
    ],
)
def test_other_numbers_of_keypoints(
    shared_data: Path, tmp_path: Path, truth: int, detected: int, sigmas: Any, message: str
) -> None:
    source = shared_data / "coco_mini" / "annotations" / "person_keypoints_val2017.json"
    data = json.loads(source.read_text())
    for annotation in data["annotations"]:
        annotation["keypoints"] = annotation["keypoints"][: 3 * truth]
    for category in data["categories"]:
        category["keypoints"] = category["keypoints"][:truth]
    path = tmp_path / "points.json"
    path.write_text(json.dumps(data))
    folder = str(shared_data / "coco_mini" / "val2017")
    records = registered(register_coco_instances, "points", {}, str(path), folder)
    evaluator = CocoEvaluator("points", tasks=("keypoints",), kpt_oks_sigmas=sigmas)
    evaluator.reset()
    for record in records:
        boxes = torch.tensor([a["bbox"] for a in record["annotations"]]).reshape(-1, 4)
        found = Instances((record["height"], record["width"]))
        found.pred_boxes = Boxes(boxes)
        found.scores = torch.ones(len(boxes))
        found.pred_classes = torch.zeros(len(boxes), dtype=torch.long)
        found.pred_keypoints = torch.ones(len(boxes), detected, 3)
        evaluator.process([record], [{"instances": found}])
    if message:
        with pytest.raises(UserError, match=rf"points\.json {message}"):
            evaluator.evaluate()
    else:
        assert "AP" in evaluator.evaluate()["keypoints"]
