from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from detectron2.data import transforms as T

from centernet2.data.augmentation import build_augmentation
from centernet2.data.mapper import DetectionMapper
from centernet2.data.views import view_resizes, whole_image_config
from centernet2.engine import build_cfg
from centernet2.errors import UserError


def config(*overrides: object) -> Any:
    return build_cfg(overrides=[str(part) for part in overrides])


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def shown(resize: T.Augmentation, image: np.ndarray) -> np.ndarray:
    view = T.AugInput(image)
    resize(view)
    return view.image


def test_sizes_are_the_shorter_side_up_to_the_longest() -> None:
    cfg = config("TEST.AUG.MIN_SIZES", (40, 80, 160), "TEST.AUG.MAX_SIZE", 200)
    sizes = [shown(resize, picture(60, 120)).shape[:2] for resize in view_resizes(cfg)]
    assert sizes == [(40, 80), (80, 160), (100, 200)]


def test_sizes_of_square_models_are_sides_of_the_square() -> None:
    cfg = config(
        "INPUT.TEST_INPUT_TYPE", "square",
        "TEST.AUG.MIN_SIZES", (40, 80, 160), "TEST.AUG.MAX_SIZE", 120,
    )  # fmt: skip
    sizes = [shown(resize, picture(60, 120)).shape[:2] for resize in view_resizes(cfg)]
    assert sizes == [(20, 40), (40, 80), (60, 120)]


@pytest.mark.parametrize("kind", ["default", "square"])
def test_a_view_of_the_test_size_has_the_pixels_of_plain_inference(kind: str) -> None:
    cfg = config(
        "INPUT.TEST_INPUT_TYPE", kind, "INPUT.TEST_SIZE", 77,
        "INPUT.MIN_SIZE_TEST", 77, "TEST.AUG.MIN_SIZES", (77,),
    )  # fmt: skip
    image = picture(61, 83)
    (view,) = (shown(resize, image) for resize in view_resizes(cfg))
    (plain,) = build_augmentation(cfg, is_train=False)
    np.testing.assert_array_equal(view, shown(plain, image))
    assert view.shape != image.shape


@pytest.mark.parametrize("kind", ["default", "square"])
def test_whole_images_come_as_they_were_read(kind: str, tmp_path: Path) -> None:
    cfg = config("INPUT.TEST_INPUT_TYPE", kind, "INPUT.FORMAT", "BGR")
    before = cfg.dump()
    image = picture(61, 83)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    record = {"file_name": str(tmp_path / "a.png"), "height": 61, "width": 83}
    mapped = DetectionMapper(whole_image_config(cfg), is_train=False)(record)
    np.testing.assert_array_equal(mapped["image"].permute(1, 2, 0).numpy(), image)
    assert cfg.dump() == before


@pytest.mark.parametrize(
    ("key", "value"), [("MIN_SIZES", ()), ("MIN_SIZES", (400, 0)), ("MAX_SIZE", 0)]
)
def test_impossible_sizes_are_named(key: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"TEST\.AUG\.{key}"):
        view_resizes(config(f"TEST.AUG.{key}", value))
