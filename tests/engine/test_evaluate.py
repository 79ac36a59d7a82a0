from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from torch import nn

from centernet2.config import add_centernet_config
from centernet2.engine import evaluate


@pytest.fixture
def case(tmp_path, monkeypatch):
    """A config, the results folder, and an evaluation that only writes its results."""
    cfg = get_cfg()
    add_centernet_config(cfg)
    name = f"report_{tmp_path.name}"
    cfg.OUTPUT_DIR, cfg.DATASETS.TEST, cfg.MODEL.WEIGHTS = str(tmp_path), (name,), "some.pth"
    truth = {
        "images": [{"id": 1, "width": 9, "height": 9, "file_name": "a.jpg"}],
        "categories": [{"id": 5, "name": "thing"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "bbox": [1, 1, 5, 5]}],
    }
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    MetadataCatalog.get(name).set(json_file=str(tmp_path / "gt.json"), evaluator_type="coco")
    folder = tmp_path / "inference" / name
    folder.mkdir(parents=True)
    found = [{"image_id": 1, "category_id": 5, "bbox": [1, 1, 5, 5], "score": 0.9}]
    (folder / "coco_instances_results.json").write_text(json.dumps(found))
    monkeypatch.setattr(evaluate, "check_test_sets", lambda cfg: None)
    monkeypatch.setattr(evaluate, "Checkpointer", lambda *_: SimpleNamespace(load=lambda _: None))
    trainer = SimpleNamespace(
        build_model=lambda cfg: nn.Linear(1, 1), test=lambda cfg, model: {"bbox": {"AP": 1}}
    )
    return cfg, folder, trainer


def test_the_report_lies_beside_the_results(case):
    cfg, folder, trainer = case
    evaluate.evaluate_checkpoint(cfg, trainer=trainer)
    report = json.loads((folder / "report.json").read_text())
    assert report["metrics"]["box"]["AP"] == pytest.approx(100)
    assert report["about"]["weights"] == "some.pth"


def test_the_report_names_its_origin_and_draws_images(case):
    cfg, folder, trainer = case
    (name,) = cfg.DATASETS.TEST
    MetadataCatalog.get(name).set(image_root="pictures")
    asked = []

    def draw(path, image, found, objects, names):
        asked.append((str(path), len(found), len(objects), names))
        return np.zeros((9, 18, 3), dtype=np.uint8)

    evaluate.evaluate_checkpoint(cfg, trainer=trainer, config_file="some.yaml", draw=draw)
    report = json.loads((folder / "report.json").read_text())
    told = {key: report["about"][key] for key in ("config", "weights", "data set")}
    assert told == {"config": "some.yaml", "weights": "some.pth", "data set": name}
    assert asked == [("pictures/a.jpg", 1, 1, {5: "thing"})]


def test_lvis_has_a_report_too(case):
    cfg, folder, trainer = case
    (name,) = cfg.DATASETS.TEST
    file = folder.parents[1] / "gt.json"
    truth = json.loads(file.read_text())
    truth["images"][0].update(neg_category_ids=[], not_exhaustive_category_ids=[])
    truth["categories"][0]["frequency"] = "r"
    file.write_text(json.dumps(truth))
    MetadataCatalog.remove(name)
    MetadataCatalog.get(name).set(json_file=str(file), evaluator_type="lvis")
    results = folder / "coco_instances_results.json"
    results.rename(folder / "lvis_instances_results.json")
    evaluate.evaluate_checkpoint(cfg, trainer=trainer)
    report = json.loads((folder / "report.json").read_text())
    assert report["metrics"]["box"]["APr"] == pytest.approx(100)


def test_a_key_turns_it_off(case):
    cfg, folder, trainer = case
    cfg.TEST.REPORT = False
    evaluate.evaluate_checkpoint(cfg, trainer=trainer)
    assert not (folder / "report.json").exists()


def test_the_metrics_survive_a_report_that_fails(case, tmp_path):
    cfg, folder, trainer = case
    (folder / "coco_instances_results.json").write_text("[1")
    results = evaluate.evaluate_checkpoint(cfg, trainer=trainer)
    assert json.loads((tmp_path / "metrics_eval.json").read_text())["results"] == results
    assert not (folder / "report.html").exists()
