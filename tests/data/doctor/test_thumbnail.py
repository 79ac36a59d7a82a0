from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from centernet2.data.doctor.thumbnail import thumbnail

RED, BLUE = (255, 0, 60), (0, 200, 255)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An image of 480 x 240 whose columns tell where they are."""
    pixels = np.zeros((240, 480, 3), np.uint8)
    pixels[:, :, 1] = np.arange(480) // 2
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def extent(picture: Image.Image, colour: tuple[int, int, int]) -> tuple[int, ...]:
    rows, columns = np.nonzero((np.asarray(picture) == colour).all(2))
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_an_image_is_shown_whole(path: Path) -> None:
    for annotation in (None, {"bbox": None}, {"bbox": [9000, 0, 1, 1]}):
        picture = thumbnail(path, annotation)
        assert picture.size == (240, 120)
        assert picture.getpixel((0, 0))[1] < 5 and picture.getpixel((239, 0))[1] > 234


def test_a_large_object(path: Path) -> None:
    polygon = [40.0, 20, 440, 20, 240, 220]
    picture = thumbnail(path, {"bbox": [20, 10, 440, 200], "segmentation": [polygon]})
    assert picture.size == (240, 120)
    assert extent(picture, RED) == (10, 5, 230, 105)
    assert extent(picture, BLUE) == (20, 10, 220, 110)


def test_the_surroundings_of_a_small_object(path: Path) -> None:
    picture = thumbnail(path, {"bbox": [230, 100, 20, 40]})
    assert picture.size == (240, 240)  # of 120 x 120 pixels, from (180, 60)
    assert extent(picture, RED) == (100, 80, 140, 160)
    assert abs(picture.getpixel((0, 0))[1] - 90) < 3


def test_an_object_in_the_corner(path: Path) -> None:
    picture = thumbnail(path, {"bbox": [470, 230, 10, 10]})
    assert picture.size == (240, 240)
    assert extent(picture, RED)[:2] == (220, 220)


def test_a_turned_box(path: Path) -> None:
    picture = thumbnail(path, {"bbox": [250, 140, -20, -40]})
    assert extent(picture, RED) == (100, 80, 140, 160)


@pytest.mark.parametrize(
    "box", ["x", [1, 2, 3], [1, 2, 3, "4"], [1, 2, float("nan"), 4], [1e300] * 4, 7]
)
@pytest.mark.parametrize(
    "masks", [None, "x", [[1, 2]], [["a"] * 6], [[float("inf")] * 6], {"counts": 3}]
)
def test_what_cannot_be_drawn_is_left_out(path: Path, box: Any, masks: Any) -> None:
    assert thumbnail(path, {"bbox": box, "segmentation": masks}).size == (240, 120)
