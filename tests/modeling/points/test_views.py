from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.modeling.points.views import make_view, to_image

from . import reference


def picture(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 0)


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).float()


def warped(image: np.ndarray, center, s: float, out: tuple[int, int]) -> np.ndarray:
    """As published: one warp, with ``s`` the width that fills ``out`` (width, height)."""
    k = out[0] / s
    matrix = np.array([[k, 0, out[0] / 2 - k * center[0]], [0, k, out[1] / 2 - k * center[1]]])
    return cv2.warpAffine(image, matrix, out, flags=cv2.INTER_LINEAR)


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(20, 130),
    width=st.integers(20, 130),
    scale=st.sampled_from([1.0, 0.5, 1.25]),
    multiple=st.sampled_from([32, 128]),
)
def test_images_keep_their_size(height, width, scale, multiple):
    image = picture(height, width)
    view = make_view(tensor(image), scale, multiple)
    new_height, new_width = int(height * scale), int(width * scale)
    full = (new_height | (multiple - 1)) + 1, (new_width | (multiple - 1)) + 1
    assert tuple(view.pixels.shape) == (3, *full)
    resized = cv2.resize(image, (new_width, new_height))
    center = new_width // 2, new_height // 2
    expected = warped(resized, center, full[1], (full[1], full[0]))
    difference = (view.pixels - tensor(expected)).abs()
    assert difference.max() <= 1  # OpenCV resizes in fixed point

    # The corners of a box come back
    out = full[1] / 4, full[0] / 4
    points = [[3.0, 5.0], [width - 1.0, height / 2]]
    cells = [reference.affine([v * scale for v in p], center, full[1], out) for p in points]
    found = to_image(torch.tensor(cells, dtype=torch.float64), view, (full[0] // 4, full[1] // 4))
    np.testing.assert_allclose(found, points, atol=1e-4)


@pytest.mark.parametrize("size", [512, 511, 64])
def test_sides_are_the_next_greater_multiple(size):
    expected = {512: 544, 511: 512, 64: 96}[size]
    assert make_view(torch.zeros(3, size, 20), 1.0, 32).pixels.shape[1] == expected


@settings(max_examples=15, deadline=None)
@given(
    height=st.integers(20, 130),
    width=st.integers(20, 130),
    scale=st.sampled_from([1.0, 0.75, 1.5]),
    size=st.sampled_from([64, 96]),
)
def test_images_are_fitted_into_a_square(height, width, scale, size):
    image = picture(height, width)
    view = make_view(tensor(image), scale, 32, fixed_size=size)
    assert tuple(view.pixels.shape) == (3, size, size)
    new = int(width * scale), int(height * scale)
    resized = image if scale == 1 else cv2.resize(image, new)
    center, s = (new[0] / 2, new[1] / 2), max(height, width)
    expected = warped(resized, center, s, (size, size))
    # OpenCV places pixels on a 32nd of a pixel
    assert (view.pixels - tensor(expected)).abs().max() <= 8
    points = [[0.0, 0.0], [width - 1.0, height / 3]]
    cells = [
        reference.affine([v * scale for v in p], center, s, (size / 4, size / 4)) for p in points
    ]
    found = to_image(torch.tensor(cells, dtype=torch.float64), view, (size // 4, size // 4))
    np.testing.assert_allclose(found, points, atol=1e-4)
