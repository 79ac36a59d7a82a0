from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from centernet2.errors import UserError
from centernet2.inference.pixels import rgb_pixels

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]
REPEATED = np.stack([GREY] * 3, axis=2)


@pytest.mark.parametrize(
    ("image", "order", "expected"),
    [
        (RGB, "RGB", RGB),
        (RGB, "BGR", RGB[:, :, ::-1]),
        (np.dstack([RGB, GREY]), "RGB", RGB),
        (np.dstack([RGB, GREY]), "BGR", RGB[:, :, ::-1]),
        (GREY, "BGR", REPEATED),
        (GREY[:, :, None], "RGB", REPEATED),
        (RGB.astype(np.uint16) * 256 + 9, "RGB", RGB),
        (RGB.astype(np.float64) / 255, "RGB", RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1), "RGB", RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1), "BGR", RGB[:, :, ::-1]),
        (torch.from_numpy(RGB).permute(2, 0, 1).float() / 255, "RGB", RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1).half() / 255, "RGB", RGB),
        (torch.from_numpy(GREY)[None], "RGB", REPEATED),
        (torch.from_numpy(GREY), "RGB", REPEATED),
        (Image.fromarray(RGB), "BGR", RGB),
        (Image.fromarray(GREY), "RGB", REPEATED),
        (Image.fromarray(np.dstack([RGB, GREY]), "RGBA"), "RGB", RGB),
        (Image.fromarray(GREY.astype(np.uint16) * 256 + 255), "RGB", REPEATED),
    ],
)
def test_every_kind_of_image_becomes_rgb(image: object, order: str, expected: np.ndarray) -> None:
    pixels = rgb_pixels(image, order)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)
    assert pixels.flags.c_contiguous


def test_pillow_images_are_turned_upright() -> None:
    image = Image.fromarray(RGB)
    image.getexif()[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    np.testing.assert_array_equal(rgb_pixels(image, "RGB"), np.rot90(RGB, -1))


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (RGB.astype(np.float32), "from 0 to 248 cannot be used: they must be from 0 to 1"),
        (RGB / 255 - 0.5, "from 0 to 1, not normalised"),
        (np.full((4, 4, 3), np.nan), "from nan to nan"),
        (RGB.astype(np.int64), "an image of int64 cannot be used: convert it to uint8"),
        (RGB.transpose(2, 0, 1), r"array of shape \(3, 5, 7\) has 7 channels.*\(H, W, 3\)"),
        (torch.from_numpy(RGB), r"tensor of shape \(5, 7, 3\) has 5 channels.*\(3, H, W\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\) cannot be used"),
        (np.zeros(3, np.uint8), r"shape \(3,\) cannot be used"),
    ],
)
def test_others_are_refused_in_one_sentence(image: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        rgb_pixels(image, "RGB")
