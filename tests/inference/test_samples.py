from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances
from PIL import Image

from centernet2.inference import samples


@pytest.fixture
def data_set(tmp_path):
    """Two red images with an object each, and a crowd."""
    records = []
    for i in range(2):
        path = tmp_path / f"{i}.png"
        Image.new("RGB", (60, 40), (250, 10, 20)).save(path)
        box = {"bbox": [5.0, 6.0, 25.0, 30.0], "bbox_mode": 0, "category_id": 1}
        crowd = {**box, "iscrowd": 1}
        records.append({"file_name": str(path), "annotations": [box, crowd]})
    DatasetCatalog.register("drawn_samples", lambda: records)
    yield "drawn_samples"
    DatasetCatalog.remove("drawn_samples")


def test_the_model_gets_bgr_and_the_picture_keeps_its_colours(data_set, tmp_path):
    seen = []

    def predict(images):
        seen.extend(images)
        nothing = Instances(images[0].shape[:2])
        nothing.pred_boxes = Boxes(torch.zeros(0, 4))
        nothing.scores = torch.zeros(0)
        nothing.pred_classes = torch.zeros(0, dtype=torch.int64)
        return [nothing]

    predictor = type("Stub", (SimpleNamespace,), {"__call__": lambda self, x: predict(x)})
    output = tmp_path / "new" / "drawn.png"
    samples.draw_samples(predictor(class_names=["a", "b"]), data_set, 5, output)
    assert len(seen) == 2
    assert (seen[0] == np.array([20, 10, 250], dtype=np.uint8)).all()
    pixels = np.array(Image.open(output).convert("RGB")).reshape(-1, 3)
    assert (pixels == [250, 10, 20]).all(axis=1).mean() > 0.5


def test_truth_is_without_crowds(data_set):
    truth = samples.ground_truth(DatasetCatalog.get(data_set)[0], (40, 60))
    assert truth.pred_boxes.tensor.tolist() == [[5.0, 6.0, 25.0, 30.0]]
    assert truth.pred_classes.tolist() == [1]
