from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.data import transforms as T
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.data.keypoint_augmentation import (
    ColorJitter,
    ColorJitterTransform,
    KeypointCrop,
    KeypointCropTransform,
    Lighting,
    LightingTransform,
    PixelFlip,
    PixelFlipTransform,
    crop_border,
    crop_sides,
)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(1, 256, (height, width, 3), dtype=np.uint8)


def plain_window(image: np.ndarray, center: tuple[int, int], side: int) -> np.ndarray:
    """The window pixel by pixel: row r of it is row c - side // 2 + r of the image."""
    window = np.zeros((side, side, 3), dtype=image.dtype)
    x, y = center
    for r in range(side):
        for c in range(side):
            row, column = y - side // 2 + r, x - side // 2 + c
            before_end = row < y + side // 2 and column < x + side // 2
            if before_end and 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                window[r, c] = image[row, column]
    return window


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    side=st.integers(1, 50),
    place=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
)
def test_the_window_is_that_of_the_description(height, width, side, place):
    image = noise(height, width)
    center = int(place[0] * width), int(place[1] * height)
    transform = KeypointCropTransform(center, side, side)  # not resized
    expected = plain_window(image, center, side)
    np.testing.assert_array_equal(transform.apply_image(image), expected)
    np.testing.assert_array_equal(transform.apply_segmentation(image[:, :, 0]), expected[:, :, 0])
    labels = image[:, :, 1] > 128
    np.testing.assert_array_equal(transform.apply_segmentation(labels), expected[:, :, 1] > 128)


def test_the_last_row_and_column_of_an_odd_window_stay_black():
    transform = KeypointCropTransform((20, 20), 9, 9)
    window = transform.apply_image(noise(40, 40))
    assert window[:-1, :-1].all()
    assert not window[-1].any() and not window[:, -1].any()


@pytest.mark.parametrize(("side", "size"), [(30, 51), (51, 30), (40, 41)])
def test_resizing_is_bilinear_between_centers_of_pixels(side, size):
    image = cv2.GaussianBlur(noise(90, 80), (0, 0), 2)
    found = KeypointCropTransform((40, 45), side, size).apply_image(image)
    window = torch.tensor(plain_window(image, (40, 45), side)).permute(2, 0, 1)[None].double()
    expected = F.interpolate(window, size, mode="bilinear", align_corners=False)[0]
    assert found.dtype == np.uint8
    assert np.abs(found - expected.permute(1, 2, 0).numpy()).max() < 1


@settings(max_examples=60, deadline=None)
@given(
    center=st.tuples(st.integers(0, 90), st.integers(0, 80)),
    side=st.integers(1, 120),
    x=st.floats(-20, 120),
    y=st.floats(-20, 120),
)
def test_points_move_with_the_pixels(center, side, x, y):
    found = KeypointCropTransform(center, side, 51).apply_coords(np.array([[x, y]]))
    expected = [(v - (c - side // 2)) * 51 / side for v, c in zip((x, y), center)]
    np.testing.assert_allclose(found, [expected], atol=1e-9)


def test_a_bright_spot_stays_at_its_point():
    for side, size in ((30, 60), (31, 93)):
        image = np.zeros((60, 70), dtype=np.float32)
        image[22, 37] = 1
        transform = KeypointCropTransform((33, 25), side, size)
        rows, columns = np.nonzero(transform.apply_image(image) > 0.9 / (size // side) ** 2)
        (point,) = transform.apply_coords(np.array([[37.5, 22.5]]))  # the centre of the pixel
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], point, atol=0.51)


def test_sides_are_the_published_ones():
    sides = crop_sides(511, (0.6, 1.3, 0.1))
    assert sides.tolist() == [306, 357, 408, 459, 510, 562, 613, 664]
    assert crop_sides(511, (1.0, 1.0, 0.1)).tolist() == [511]


@pytest.mark.parametrize(
    ("length", "border"), [(300, 128), (257, 128), (256, 64), (200, 64), (60, 16), (2, 0), (1, 0)]
)
def test_the_border_halves_until_there_is_room(length, border):
    found = crop_border(length, 128)
    assert found == border
    assert length - found > found


def test_windows_are_drawn_from_all_sides_and_places():
    np.random.seed(0)  # noqa: NPY002
    crop = KeypointCrop(51, border=12)
    image = noise(60, 30)
    drawn = [crop.get_transform(image) for _ in range(4000)]
    assert {t.side for t in drawn} == set(crop_sides(51, (0.6, 1.3, 0.1)).tolist())
    assert {t.left + t.side // 2 for t in drawn} == set(range(12, 30 - 12))
    assert {t.top + t.side // 2 for t in drawn} == set(range(12, 60 - 12))
    counts = np.bincount([t.left + t.side // 2 - 12 for t in drawn])
    assert counts.min() > 0.8 * counts.mean()


def test_an_image_of_one_pixel_can_be_cropped():
    crop = KeypointCrop(51)
    image = noise(1, 1)
    assert crop.get_transform(image).apply_image(image).shape == (51, 51, 3)


def test_a_flip_maps_the_first_pixel_to_the_last():
    image = noise(7, 9)
    transform = PixelFlipTransform(9)
    np.testing.assert_array_equal(transform.apply_image(image), image[:, ::-1])
    points = np.array([[0.0, 1.0], [8.0, 2.0], [2.5, 3.0]])
    expected = [[8, 1], [0, 2], [5.5, 3]]
    np.testing.assert_array_equal(transform.apply_coords(points), expected)
    assert points[0, 0] == 0
    box = transform.apply_box(np.array([[1.0, 2.0, 8.0, 5.0]]))
    np.testing.assert_array_equal(box, [[0, 2, 7, 5]])


def test_half_of_the_images_are_flipped():
    np.random.seed(0)  # noqa: NPY002
    drawn = [PixelFlip().get_transform(noise(3, 4)) for _ in range(1000)]
    flipped = sum(isinstance(t, PixelFlipTransform) for t in drawn)
    assert 450 < flipped < 550
    assert all(isinstance(t, (PixelFlipTransform, T.NoOpTransform)) for t in drawn)


def plain_jitter(image: np.ndarray, steps: list[tuple[str, float]]) -> np.ndarray:
    """B, G, R in float64, pixel by pixel of the formula."""
    out = image.astype(np.float64)
    gray = np.zeros(image.shape[:2])
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            blue, green, red = out[i, j]
            gray[i, j] = 0.114 * blue + 0.587 * green + 0.299 * red
    mean = gray.sum() / gray.size
    for name, a in steps:
        for i in range(image.shape[0]):
            for j in range(image.shape[1]):
                for c in range(3):
                    other = {"brightness": 0, "contrast": mean, "saturation": gray[i, j]}[name]
                    out[i, j, c] = a * out[i, j, c] + (1 - a) * other
    return out


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    order=st.permutations(["brightness", "contrast", "saturation"]),
    factors=st.tuples(*[st.floats(0.6, 1.4)] * 3),
)
def test_colors_follow_the_description_in_any_order(seed, order, factors):
    image = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    steps = list(zip(order, factors))
    found = ColorJitterTransform(steps).apply_image(image)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, plain_jitter(image, steps), atol=1e-3)
    turned = ColorJitterTransform(steps, "RGB").apply_image(image[:, :, ::-1])
    np.testing.assert_allclose(turned, found[:, :, ::-1], atol=1e-3)


def test_colors_are_not_clipped():
    bright = np.full((2, 2, 3), 250, dtype=np.uint8)
    assert ColorJitterTransform([("brightness", 1.4)]).apply_image(bright) == pytest.approx(350)


def test_jitter_draws_all_orders_and_factors_of_its_strength():
    np.random.seed(0)  # noqa: NPY002
    drawn = [ColorJitter(0.3).get_transform(noise(2, 2)).steps for _ in range(600)]
    assert len({tuple(name for name, _ in steps) for steps in drawn}) == 6
    factors = np.array([factor for steps in drawn for _, factor in steps])
    assert 0.7 <= factors.min() < 0.71 and 1.29 < factors.max() <= 1.3


def test_lighting_adds_the_published_colors():
    image = noise(3, 4)
    alpha = np.array([0.1, -0.2, 0.05])
    shares = np.array([0.2141788 * 0.1, -0.01817699 * 0.2, 0.00341571 * 0.05])
    rows = [
        (-0.58752847, -0.69563484, 0.41340352),
        (-0.5832747, 0.00994535, -0.81221408),
        (-0.56089297, 0.71832671, 0.41158938),
    ]
    expected = image / 255 + [sum(v * s for v, s in zip(row, shares)) for row in rows]
    found = LightingTransform(alpha).apply_image(image)
    np.testing.assert_allclose(found / 255, expected, atol=1e-6)
    turned = LightingTransform(alpha, "RGB").apply_image(image[:, :, ::-1])
    np.testing.assert_allclose(turned, found[:, :, ::-1], atol=1e-4)


def test_lighting_is_drawn_normally():
    np.random.seed(0)  # noqa: NPY002
    colors = np.array([Lighting(0.1).get_transform(noise(2, 2)).color for _ in range(3000)])
    # The first component outweighs the others by far
    deviation = 255 * 0.1 * 0.2141788 * np.array([0.58752847, 0.5832747, 0.56089297])
    np.testing.assert_allclose(colors.std(axis=0), deviation, rtol=0.05)
    assert np.abs(colors.mean(axis=0)).max() < 0.2


def test_colors_leave_points_and_labels_alone():
    points, labels = np.array([[1.0, 2.0]]), np.array([[1, 2]])
    for transform in (ColorJitterTransform([]), LightingTransform(np.ones(3))):
        assert transform.apply_coords(points) is points
        assert transform.apply_segmentation(labels) is labels
