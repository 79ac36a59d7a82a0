"""The pedestrian model that comes with the package, on real photos."""

from __future__ import annotations

from pathlib import Path

import pytest
from detectron2.data.datasets import load_coco_json
from detectron2.structures import pairwise_iou
from safetensors import safe_open

from centernet2.engine import build_cfg
from centernet2.inference.inputs import read_image
from centernet2.inference.predictor import Predictor
from centernet2.inference.samples import ground_truth
from centernet2.inference.zoo import DEFAULT_MODEL, shipped_model


def test_the_files_are_small_and_the_card_travels_with_the_weights():
    config, weights = shipped_model(DEFAULT_MODEL)
    assert weights.stat().st_size <= 20e6
    with safe_open(weights, framework="pt") as file:
        card = file.metadata()["model_card"]
    assert card == (config.parent / "README.md").read_text()
    for word in ("Penn-Fudan", "AP", "Limits", "SEED"):
        assert word in card


@pytest.mark.slow
def test_it_finds_the_pedestrians_of_photos_it_was_not_trained_on(shared_data: Path):
    config, weights = shipped_model(DEFAULT_MODEL)
    predictor = Predictor(build_cfg(str(config), ["MODEL.WEIGHTS", str(weights)]), threshold=0.5)
    assert predictor.class_names == ["person"]
    folder = shared_data / "penn_fudan"
    records = load_coco_json(str(folder / "val.json"), str(folder / "images"))[:12]
    expected = found = wrong = 0
    for record in records:
        image = read_image(Path(record["file_name"]))
        (detections,) = predictor([image])
        truth = ground_truth(record, image.shape[:2])
        overlap = pairwise_iou(truth.pred_boxes, detections.pred_boxes)
        expected += len(truth)
        found += int((overlap.amax(dim=1) > 0.5).sum()) if len(detections) else 0
        wrong += int((overlap.amax(dim=0) < 0.1).sum()) if len(detections) else 0
        assert detections.pred_masks.shape[1:] == image.shape[:2]
    assert found >= 0.85 * expected
    assert wrong <= 0.1 * expected
