from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from PIL import Image
from pycocotools import mask as coco_mask

from centernet2.errors import UserError
from centernet2.inference.detections import Detections
from centernet2.inference.drawing import draw_predictions
from centernet2.inference.sources import Source

Make = Callable[..., Instances]
NAMES = ("person", "bicycle", "traffic light")
BOXES = [[10.0, 20.0, 110.0, 220.0], [200.0, 30.0, 300.0, 130.0], [5.0, 5.0, 50.0, 25.0]]


@pytest.fixture
def found(make_instances: Make) -> Callable[..., Detections]:
    def make(source: Source, masks: bool = True) -> Detections:
        instances = make_instances((330, 400), BOXES, masks)
        return Detections.from_instances(instances, NAMES, (1, 2, 10), source)

    return make


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (330, 400, 3), dtype=np.uint8)


def test_numbers_have_their_types_and_shapes(
    found: Callable[..., Detections], noise: np.ndarray
) -> None:
    detections = found(Source(pixels=noise))
    assert len(detections) == 3
    assert (detections.boxes.dtype, detections.boxes.shape) == (np.float32, (3, 4))
    assert (detections.scores.dtype, detections.labels.dtype) == (np.float32, np.int64)
    assert (detections.masks.dtype, detections.masks.shape) == (np.bool_, (3, 330, 400))
    assert detections.names == ["person", "bicycle", "traffic light"]
    assert found(Source(pixels=noise), masks=False).masks is None


def test_some_are_selected_by_number_slice_or_condition(
    found: Callable[..., Detections], noise: np.ndarray
) -> None:
    detections = found(Source(pixels=noise))
    assert detections[1].names == ["bicycle"]
    assert detections[-1].names == ["traffic light"]
    assert detections[:2].names == ["person", "bicycle"]
    good = detections[detections.scores > 0.7]
    assert good.names == ["person", "bicycle"]
    assert good.masks.shape == (2, 330, 400)
    assert len(detections[[]]) == 0
    assert [d.names for d in detections] == [["person"], ["bicycle"], ["traffic light"]]
    with pytest.raises(IndexError):
        detections[3]


def test_text_says_what_is_there(found: Callable[..., Detections], noise: np.ndarray) -> None:
    path = Path("photos/street.jpg")
    text = "<Detections of street.jpg (400x330): 1 person, 1 bicycle, 1 traffic light>"
    assert repr(found(Source(path))) == text
    frame = found(Source(Path("a.mp4"), 7, 0.28, noise))[[]]
    assert repr(frame) == "<Detections of frame 7 of a.mp4 (400x330): nothing>"


def test_plot_draws_on_the_image(found: Callable[..., Detections], noise: np.ndarray) -> None:
    detections = found(Source(pixels=noise))
    plotted = detections.plot()
    assert isinstance(plotted, Image.Image)
    expected = draw_predictions(noise, detections.to_instances(), NAMES)
    np.testing.assert_array_equal(np.asarray(plotted), expected)
    outlines = np.asarray(detections.plot(masks=False))
    inside = (slice(100, 180), slice(30, 90))
    np.testing.assert_array_equal(outlines[inside], noise[inside])
    assert (expected[inside] != noise[inside]).any()
    np.testing.assert_array_equal(detections.image, noise)


def test_save_takes_a_file_or_a_folder(
    found: Callable[..., Detections], noise: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "street.png"
    Image.fromarray(noise).save(path)
    detections = found(Source(path))
    assert detections.save(tmp_path / "out") == tmp_path / "out" / "street.png"
    assert detections.save(str(tmp_path / "new" / "x.png")) == tmp_path / "new" / "x.png"
    for name in ("out/street.png", "new/x.png"):
        np.testing.assert_array_equal(Image.open(tmp_path / name), detections.plot())
    with pytest.raises(UserError, match="would overwrite"):
        detections.save(tmp_path)
    assert (np.array(Image.open(path)) == noise).all()
    nameless = found(Source(pixels=noise))
    with pytest.raises(UserError, match="name a file"):
        nameless.save(tmp_path)
    with pytest.raises(UserError, match=r"x\.abc: cannot be written"):
        nameless.save(tmp_path / "x.abc")
    frame = found(Source(tmp_path / "video.mp4", 3, 0.1, noise))
    assert frame.save(tmp_path / "frame3.png").is_file()


def test_to_coco_has_the_entries_of_coco_results(
    found: Callable[..., Detections], noise: np.ndarray
) -> None:
    detections = found(Source(Path("000000000139.jpg")))
    entries = json.loads(json.dumps(detections.to_coco()))
    assert [(e["image_id"], e["category_id"]) for e in entries] == [(139, 1), (139, 2), (139, 10)]
    assert entries[0]["bbox"] == [10, 20, 100, 200]
    assert entries[0]["score"] == pytest.approx(0.99)
    decoded = coco_mask.decode([e["segmentation"] for e in entries]).transpose(2, 0, 1)
    np.testing.assert_array_equal(decoded.astype(bool), detections.masks)
    assert {e["image_id"] for e in detections.to_coco(image_id=7)} == {7}
    assert found(Source(Path("a.mp4"), 5, 0.2, noise)).to_coco()[0]["image_id"] == 5
    assert found(Source(pixels=noise), masks=False).to_coco()[0]["image_id"] == 1


def test_to_instances_gives_back_what_the_model_found(
    make_instances: Make, found: Callable[..., Detections], noise: np.ndarray
) -> None:
    expected = make_instances((330, 400), BOXES, masks=True)
    instances = found(Source(pixels=noise)).to_instances()
    assert instances.image_size == (330, 400)
    assert torch.equal(instances.pred_boxes.tensor, expected.pred_boxes.tensor)
    for field in ("scores", "pred_classes", "pred_masks"):
        assert torch.equal(instances.get(field), expected.get(field))


def test_to_supervision_works_with_its_annotators(
    found: Callable[..., Detections], noise: np.ndarray
) -> None:
    supervision = pytest.importorskip("supervision")
    detections = found(Source(pixels=noise))
    converted = detections.to_supervision()
    np.testing.assert_array_equal(converted.xyxy, BOXES)
    np.testing.assert_array_equal(converted.mask, detections.masks)
    assert converted["class_name"].tolist() == list(NAMES)
    assert converted[converted.confidence > 0.7].class_id.tolist() == [0, 1]
    drawn = supervision.BoxAnnotator().annotate(noise.copy(), converted)
    assert (drawn != noise).any()
    assert len(detections[[]].to_supervision()) == 0


def test_absent_supervision_is_one_sentence(
    found: Callable[..., Detections], noise: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **options: Any) -> Any:
        if name == "supervision":
            raise ModuleNotFoundError("No module named 'supervision'", name="supervision")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UserError, match="pip install supervision"):
        found(Source(pixels=noise)).to_supervision()
