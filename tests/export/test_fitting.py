from __future__ import annotations

import numpy as np
from PIL import Image

from centernet2.export.fitting import fit_into, fit_sides


def _pixels(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_sides() -> None:
    assert fit_sides(_pixels(30, 60), (15, 100)).shape == (15, 30, 3)
    assert fit_sides(_pixels(30, 60), (15, 20)).shape == (10, 20, 3)
    assert fit_sides(_pixels(30, 60), (0, 0)).shape == (30, 60, 3)


def test_size_is_filled_up_below_and_to_the_right() -> None:
    for shape, inner in (((30, 60), (20, 40)), ((60, 30), (32, 16)), ((32, 40), (32, 40))):
        pixels = _pixels(*shape)
        filled, size = fit_into(pixels, (32, 40), (1, 2, 3))
        assert filled.shape == (32, 40, 3)
        assert size == inner
        smaller = Image.fromarray(pixels).resize(inner[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(filled[: inner[0], : inner[1]], np.asarray(smaller))
        assert (filled[inner[0] :] == (1, 2, 3)).all()
        assert (filled[:, inner[1] :] == (1, 2, 3)).all()
