from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from PIL import Image

from centernet2.inference.images import detect_images, enlarged, image_jobs
from centernet2.inference.results import ResultsWriter
from centernet2.inference.sinks import Sinks

Make = Callable[..., Instances]
Photo = Callable[..., Path]


class OneBoxPredictor:
    """Finds the middle of every image."""

    class_names = ("person", "bicycle", "traffic light")

    def __init__(self, make: Make) -> None:
        self.make = make
        self.batches: list[int] = []

    def __call__(self, images: Sequence[np.ndarray]) -> list[Instances]:
        self.batches.append(len(images))
        return [self.find(*image.shape[:2]) for image in images]

    def find(self, height: int, width: int) -> Instances:
        box = [width / 4, height / 4, 3 * width / 4, 3 * height / 4]
        return self.make((height, width), [box], masks=True)


@pytest.fixture
def predictor(make_instances: Make) -> OneBoxPredictor:
    return OneBoxPredictor(make_instances)


def test_unreadable_image_is_reported_and_the_others_go_on(
    predictor: OneBoxPredictor, photo: Photo, tmp_path: Path
) -> None:
    good, other = photo("a/x.png", (640, 400)), photo("b/x.png", (400, 640))
    bad = tmp_path / "bad.jpg"
    bad.write_text("no image")
    with ResultsWriter(tmp_path / "r.json", [1, 2, 3]) as results:
        problems = detect_images(
            predictor, image_jobs([good, bad, other], tmp_path / "out"), Sinks(results), 2
        )
    assert len(problems) == 1
    assert "bad.jpg" in problems[0]
    assert predictor.batches == [2]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a_x.png", "b_x.png"]
    for name, size in (("a_x.png", (640, 400)), ("b_x.png", (400, 640))):
        assert Image.open(tmp_path / "out" / name).size == size
    entries = json.loads((tmp_path / "r.json").read_text())
    assert [(e["image_id"], e["file_name"]) for e in entries] == [(1, "x.png"), (3, "x.png")]
    assert entries[0]["bbox"] == [160, 100, 320, 200]


def test_drawing_shows_the_image_and_the_object(
    predictor: OneBoxPredictor, photo: Photo, tmp_path: Path
) -> None:
    path = photo("x.png", (640, 400))
    assert detect_images(predictor, image_jobs([path], tmp_path / "drawn.png")) == []
    before, after = (np.array(Image.open(p)) for p in (path, tmp_path / "drawn.png"))
    assert (before[:60] == after[:60]).all()
    assert (before[110:290, 170:470] != after[110:290, 170:470]).any(axis=2).mean() > 0.9


def test_unwritable_drawing_is_reported(
    predictor: OneBoxPredictor, photo: Photo, tmp_path: Path
) -> None:
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    photos = [photo("a.png"), photo("b.png")]
    problems = detect_images(predictor, image_jobs(photos, tmp_path / "out"))
    assert len(problems) == 1
    assert "cannot be written" in problems[0]
    assert (tmp_path / "out" / "b.png").is_file()


def test_window_shows_images_until_the_user_stops(predictor: OneBoxPredictor, photo: Photo) -> None:
    shown = []

    class TwoImages:
        def show(self, image: np.ndarray, wait: bool) -> bool:
            assert wait
            shown.append(image.shape)
            return len(shown) < 2

    photos = [photo(f"{i}.png", (400, 320)) for i in range(4)]
    assert detect_images(predictor, image_jobs(photos), Sinks(window=TwoImages())) == []
    assert shown == [(320, 400, 3)] * 2


@pytest.mark.parametrize("masks", [True, False])
def test_small_images_are_enlarged_with_what_is_on_them(masks: bool, make_instances: Make) -> None:
    found = make_instances((48, 64), [[10, 20, 30, 40]], masks)
    large, on_it = enlarged(np.zeros((48, 64, 3), dtype=np.uint8), found)
    assert large.shape == (480, 640, 3)
    assert on_it.pred_boxes.tensor.tolist() == [[100, 200, 300, 400]]
    assert on_it.image_size == (480, 640)
    if masks:
        assert on_it.pred_masks.shape == (1, 480, 640)
        assert torch.equal(on_it.pred_masks[:, 5::10, 5::10], found.pred_masks)
    assert found.pred_boxes.tensor.tolist() == [[10, 20, 30, 40]]


def test_other_images_stay_as_they_are(make_instances: Make) -> None:
    image, found = np.zeros((48, 320, 3), dtype=np.uint8), make_instances((48, 320), [])
    assert enlarged(image, found) == (image, found)
