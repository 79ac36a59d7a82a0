from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.data.detection_utils import build_augmentation as detectron2_augmentation
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from centernet2.data.augmentation import (
    EfficientDetResizeCrop,
    EfficientDetResizeCropTransform,
    build_augmentation,
)
from centernet2.engine import build_cfg
from centernet2.errors import UserError


def config(*overrides: object) -> Any:
    return build_cfg(overrides=[str(part) for part in overrides])


def reference(
    image: np.ndarray, size: int, low: float, high: float, seed: int
) -> tuple[np.ndarray, float, int, int]:
    """The description's formulas, step by step, with a generator of their own."""
    draws = np.random.RandomState(seed)
    height, width = image.shape[:2]
    k = low + (high - low) * draws.random_sample()
    s = min(k * size / height, k * size / width)
    new_height, new_width = int(height * s), int(width * s)
    y = int(max(0, new_height - size) * draws.random_sample())
    x = int(max(0, new_width - size) * draws.random_sample())
    resized = np.asarray(Image.fromarray(image).resize((new_width, new_height), Image.BILINEAR))
    crop = resized[y : min(new_height, y + size), x : min(new_width, x + size)]
    return crop, s, y, x


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(24, 90),
    width=st.integers(24, 90),
    size=st.integers(30, 64),
    low=st.floats(0.3, 1.0),
    extra=st.floats(0.0, 1.5),
    seed=st.integers(0, 2**32 - 1),
)
def test_image_and_points_follow_the_description(
    height: int, width: int, size: int, low: float, extra: float, seed: int
) -> None:
    image = noise(height, width)
    expected, s, y, x = reference(image, size, low, low + extra, seed)
    np.random.seed(seed)  # noqa: NPY002
    transform = EfficientDetResizeCrop(size, (low, low + extra)).get_transform(image)
    np.testing.assert_array_equal(transform.apply_image(image), expected)
    points = np.array([[0.0, 0.0], [width, height], [-3.5, 7.25]])
    moved = [[px * s - x, py * s - y] for px, py in points]
    np.testing.assert_allclose(transform.apply_coords(points), moved, rtol=0, atol=1e-9)


def test_crops_reach_every_place_and_scales_the_whole_range() -> None:
    image = noise(60, 80)
    augmentation = EfficientDetResizeCrop(40, (0.1, 2.0))
    np.random.seed(0)  # noqa: NPY002
    drawn = [augmentation.get_transform(image) for _ in range(4000)]
    scales = np.array([t.scale * 80 / 40 for t in drawn])  # the longer side decides
    assert scales.min() < 0.11
    assert scales.max() > 1.99
    np.testing.assert_allclose(np.histogram(scales, 5, (0.1, 2.0))[0], 800, atol=110)
    augmentation = EfficientDetResizeCrop(40, (2.0, 2.0))  # 60 x 80 is kept: 20 and 40 to spare
    drawn = [augmentation.get_transform(image) for _ in range(2000)]
    assert {t.offset_x for t in drawn} == set(range(40))
    assert {t.offset_y for t in drawn} == set(range(20))
    assert drawn[0].apply_image(image).shape[:2] == (40, 40)


def test_real_image_and_its_mask_move_with_the_boxes(shared_data: Path) -> None:
    """A rectangle of the picture ends where the points say, to a pixel of rounding."""
    file = sorted((shared_data / "coco_mini" / "val2017").glob("*.jpg"))[0]
    image = cv2.imread(str(file))
    mask = np.zeros(image.shape[:2], dtype=bool)
    mask[40:200, 60:240] = True
    transform = EfficientDetResizeCropTransform(*image.shape[:2], 0.8, 256, 20, 30)
    assert transform.apply_image(image).shape == (256, 256, 3)
    moved = transform.apply_segmentation(mask)
    assert moved.dtype == bool
    rows, columns = np.nonzero(moved)
    inside = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    box = transform.apply_box(np.array([[60, 40, 240, 200]]))[0]
    np.testing.assert_allclose(inside, box.clip(0, 256), atol=1.01)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.int64])
def test_labels_are_sampled_at_the_nearest_pixel(dtype: type) -> None:
    labels = np.random.default_rng(0).integers(0, 2 if dtype is bool else 200, (37, 53))
    labels = labels.astype(dtype)
    transform = EfficientDetResizeCropTransform(37, 53, 1.7, 50, 5, 9)
    found = transform.apply_segmentation(labels)
    assert found.dtype == labels.dtype
    height, width = int(37 * 1.7), int(53 * 1.7)
    rows = [int((i + 0.5) * 37 / height) for i in range(5, min(height, 55))]
    columns = [int((i + 0.5) * 53 / width) for i in range(9, min(width, 59))]
    np.testing.assert_array_equal(found, labels[rows][:, columns])


def test_float_images_are_sampled_without_antialiasing() -> None:
    image = np.random.default_rng(0).random((40, 60, 3), dtype=np.float32)
    transform = EfficientDetResizeCropTransform(40, 60, 0.37, 12, 1, 2)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(
        tensor, (14, 22), mode="bilinear", align_corners=False
    )
    expected = resized[0].permute(1, 2, 0).numpy()[1:13, 2:14]
    np.testing.assert_array_equal(transform.apply_image(image), expected)


def test_points_scale_by_the_factor_and_not_by_the_truncated_sides() -> None:
    transform = EfficientDetResizeCropTransform(10, 33, 0.33, 100)
    assert transform.apply_image(noise(10, 33)).shape[:2] == (3, 10)
    np.testing.assert_allclose(transform.apply_coords(np.array([[33.0, 10.0]])), [[10.89, 3.3]])


def test_integer_points_keep_their_fractions_and_the_input_stays() -> None:
    transform = EfficientDetResizeCropTransform(10, 10, 0.25, 100)
    points = np.array([[1, 3]])
    np.testing.assert_array_equal(transform.apply_coords(points), [[0.25, 0.75]])
    np.testing.assert_array_equal(points, [[1, 3]])
    polygons = transform.apply_polygons([np.array([[0, 1], [90, 50]])])
    np.testing.assert_array_equal(polygons[0], [[0, 0.25], [22.5, 12.5]])


@pytest.mark.parametrize("shape", [(2000, 3), (3, 2000)])
def test_elongated_image_keeps_a_pixel(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    np.random.seed(0)  # noqa: NPY002
    transform = EfficientDetResizeCrop(64, (0.1, 0.1)).get_transform(image)
    assert sorted(transform.apply_image(image).shape[:2]) == [1, 6]


def test_there_is_no_inverse() -> None:
    with pytest.raises(NotImplementedError):
        EfficientDetResizeCropTransform(10, 10, 0.5, 100).inverse()


@pytest.mark.parametrize(("height", "width"), [(480, 640), (641, 427), (500, 500), (1080, 1920)])
def test_square_test_input_has_the_long_side(height: int, width: int) -> None:
    image = noise(height, width)
    cfg = config("INPUT.TEST_INPUT_TYPE", "square", "INPUT.TEST_SIZE", 256)
    (augmentation,) = build_augmentation(cfg, is_train=False)
    transform = augmentation.get_transform(image)
    scale = min(1.0 * 256 / height, 1.0 * 256 / width)
    expected = Image.fromarray(image).resize(
        (int(width * scale), int(height * scale)), Image.BILINEAR
    )
    found = transform.apply_image(image)
    np.testing.assert_array_equal(found, np.asarray(expected))
    assert max(found.shape) in (255, 256)
    assert (transform.offset_y, transform.offset_x) == (0, 0)


def test_some_sizes_lose_a_pixel_to_truncation() -> None:
    """Sizes at which int(h * (S / h)) is S - 1: the published models were measured with it."""
    short = [h for h in range(300, 1300) if int(h * (1560 / h)) == 1559]
    assert short
    image = noise(short[0], 10)
    (augmentation,) = build_augmentation(
        config("INPUT.TEST_INPUT_TYPE", "square", "INPUT.TEST_SIZE", 1560), is_train=False
    )
    assert augmentation.get_transform(image).apply_image(image).shape[0] == 1559


@pytest.mark.parametrize("name", ["", "ResizeShortestEdge"])
@pytest.mark.parametrize("is_train", [True, False])
def test_other_values_mean_detectron2s_augmentations(name: str, is_train: bool) -> None:
    cfg = config("INPUT.CUSTOM_AUG", name, "INPUT.MIN_SIZE_TRAIN", "(40, 56)")
    image = noise(60, 80)
    found, expected = T.AugInput(image), T.AugInput(image)
    for augmentations, target in (
        (build_augmentation(cfg, is_train), found),
        (detectron2_augmentation(cfg, is_train), expected),
    ):
        np.random.seed(3)  # noqa: NPY002
        T.AugmentationList(augmentations)(target)
    np.testing.assert_array_equal(found.image, expected.image)


def test_detectron2s_crop_comes_first() -> None:
    cfg = config("INPUT.CROP.ENABLED", "True", "INPUT.CROP.SIZE", "(0.5, 0.5)")
    crop, resize, flip = build_augmentation(cfg, is_train=True)
    assert isinstance(crop, T.RandomCrop)
    assert tuple(crop.crop_size) == (0.5, 0.5)
    assert isinstance(resize, T.ResizeShortestEdge)
    assert isinstance(flip, T.RandomFlip)


@pytest.mark.parametrize(("direction", "flips"), [("horizontal", True), ("none", False)])
def test_training_flips_half_of_the_images(direction: str, flips: bool) -> None:
    cfg = config(
        "INPUT.CUSTOM_AUG", "EfficientDetResizeCrop", "INPUT.TRAIN_SIZE", 8,
        "INPUT.SCALE_RANGE", "(1.0, 1.0)", "INPUT.RANDOM_FLIP", direction,
    )  # fmt: skip
    augmentation = T.AugmentationList(build_augmentation(cfg, is_train=True))
    ramp = np.tile(np.arange(8, dtype=np.uint8)[None, :, None], (8, 1, 3))
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    flipped = 0
    for _ in range(400):
        shown = T.AugInput(ramp)
        augmentation(shown)
        flipped += int(shown.image[0, 0, 0] == 7)
    assert flipped == 0 if not flips else 160 < flipped < 240


@pytest.mark.parametrize(
    ("overrides", "is_train", "message"),
    [
        (["INPUT.CUSTOM_AUG", "EfficientDet"], True, "INPUT.CUSTOM_AUG is 'EfficientDet'; choose"),
        (["INPUT.TEST_INPUT_TYPE", "sqare"], False, "choose one of 'default', 'square'"),
        (["INPUT.SCALE_RANGE", "(2.0, 0.1)"], True, r"SCALE_RANGE is \(2.0, 0.1\); it must be"),
        (["INPUT.SCALE_RANGE", "(1.0,)"], True, "SCALE_RANGE .* two numbers above 0"),
        (["INPUT.SCALE_RANGE", "(0, 1.0)"], True, "SCALE_RANGE .* two numbers above 0"),
        (["INPUT.TRAIN_SIZE", "0"], True, "INPUT.TRAIN_SIZE is 0; it must be at least 1 pixel"),
        (["INPUT.CROP.ENABLED", "True"], True, "set INPUT.CROP.ENABLED False"),
        (["INPUT.TEST_INPUT_TYPE", "square", "INPUT.TEST_SIZE", "-1"], False, "TEST_SIZE is -1"),
    ],
)
def test_mistakes_are_told(overrides: list[str], is_train: bool, message: str) -> None:
    cfg = config("INPUT.CUSTOM_AUG", "EfficientDetResizeCrop", *overrides)
    with pytest.raises(UserError, match=message):
        build_augmentation(cfg, is_train)
