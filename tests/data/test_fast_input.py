from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from detectron2.data import transforms as T
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from centernet2.data.augmentation import EfficientDetResizeCrop, EfficientDetResizeCropTransform
from centernet2.data.fast_input import FastAugInput


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels)
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def both(image: np.ndarray, *transforms: T.Transform) -> tuple[np.ndarray, np.ndarray]:
    inputs = FastAugInput(image), T.AugInput(image)
    for each in inputs:
        for transform in transforms:
            each.transform(transform)
    return inputs[0].image, inputs[1].image


def difference(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    return np.abs(found.astype(int) - expected)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 90)] * 4),
    offset=st.tuples(*[st.integers(0, 20)] * 2),
    scale=st.floats(0.1, 3.0),
)
def test_differs_by_rounding_only(
    sizes: tuple[int, int, int, int], offset: tuple[int, int], scale: float
) -> None:
    height, width, *new_size = sizes
    image = noise(height, width)
    resize = T.ResizeTransform(height, width, *new_size)
    flip = T.HFlipTransform(new_size[1])
    assert difference(*both(image, resize, flip)).max() <= 2
    crop = EfficientDetResizeCropTransform(height, width, scale, 30, *offset)
    assert difference(*both(image, crop)).max(initial=0) <= 2


@pytest.mark.parametrize(
    "augmentations",
    [
        [T.ResizeShortestEdge((640, 800), 1333), T.RandomFlip()],
        [EfficientDetResizeCrop(640, (0.1, 2.0)), T.RandomFlip()],
        [T.RandomCrop("relative_range", (0.5, 0.5)), T.ResizeShortestEdge((320, 480), 600)],
    ],
)
def test_real_images_are_as_good_as_equal(shared_data: Path, augmentations: list[Any]) -> None:
    """With the same draws; the generator is left where it would be."""
    listed = T.AugmentationList(augmentations)
    files = sorted((shared_data / "coco_mini" / "val2017").glob("*.jpg"))
    means = []
    for number, file in enumerate(files[::16]):
        image = cv2.imread(str(file))
        results, draws = [], []
        for kind in (FastAugInput, T.AugInput):
            np.random.seed(number)  # noqa: NPY002
            shown = kind(image.copy())
            listed(shown)
            results.append(shown.image)
            draws.append(np.random.random())  # noqa: NPY002
        off = difference(*results)
        assert off.max() <= 2
        means.append(off.mean())
        assert draws[0] == draws[1]
    assert np.mean(means) < 0.005


def test_flipping_before_and_after_resizing_is_exact() -> None:
    image = noise(31, 47)
    np.testing.assert_array_equal(*both(image, T.HFlipTransform(47)))
    np.testing.assert_array_equal(*both(image, T.HFlipTransform(47), T.HFlipTransform(47)))
    resize = T.ResizeTransform(31, 47, 60, 80)
    found, _ = both(image, resize, T.HFlipTransform(80))
    np.testing.assert_array_equal(found, both(image, resize)[0][:, ::-1])


@pytest.mark.parametrize(
    "image",
    [noise(20, 30).astype(np.float32), noise(20, 30, 1), noise(20, 30, 4), noise(20, 30)[..., 0]],
)
def test_other_images_are_transformed_as_ever(image: np.ndarray) -> None:
    np.testing.assert_array_equal(
        *both(image, T.ResizeTransform(20, 30, 33, 47), T.HFlipTransform(47))
    )


@pytest.mark.parametrize(
    "transform",
    [
        T.ResizeTransform(20, 30, 33, 47, Image.NEAREST),
        T.ResizeTransform(20, 30, 33, 47, Image.BICUBIC),
        T.RotationTransform(20, 30, 17.0),
        T.CropTransform(3, 4, 12, 11),
        T.VFlipTransform(20),
        T.NoOpTransform(),
        T.TransformList([T.ResizeTransform(20, 30, 33, 47), T.HFlipTransform(47)]),
    ],
)
def test_other_transforms_are_applied_as_ever(transform: T.Transform) -> None:
    np.testing.assert_array_equal(*both(noise(20, 30), transform))


class _Inverted(T.ResizeTransform):
    def apply_image(self, img: np.ndarray, interp: Any = None) -> np.ndarray:
        return 255 - super().apply_image(img, interp)


def test_a_derived_transform_keeps_its_own_way() -> None:
    np.testing.assert_array_equal(*both(noise(20, 30), _Inverted(20, 30, 33, 47)))


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_transforms_after_a_fast_one_see_the_same_image() -> None:
    image = noise(20, 30)
    resized, _ = both(image, T.ResizeTransform(20, 30, 33, 47))
    later = [T.CropTransform(3, 4, 20, 15), T.ResizeTransform(15, 20, 9, 31), T.VFlipTransform(9)]
    found, _ = both(image, T.ResizeTransform(20, 30, 33, 47), *later)
    expected, _ = both(np.ascontiguousarray(resized), *later)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(image, noise(20, 30))
