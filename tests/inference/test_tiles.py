from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from centernet2.inference.tiles import tile

sizes = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=9)


@given(sizes=sizes, columns=st.integers(1, 5))
def test_every_picture_is_there_in_full(sizes: list[tuple[int, int]], columns: int) -> None:
    pictures = [np.full((*size, 3), 10 * i, dtype=np.uint8) for i, size in enumerate(sizes)]
    sheet = tile(pictures, columns)
    for i, (height, width) in enumerate(sizes):
        assert (sheet == 10 * i).all(axis=2).sum() == height * width


def test_pictures_are_scaled_to_the_cell_width() -> None:
    pictures = [np.zeros((10, 20, 3), dtype=np.uint8), np.zeros((80, 40, 3), dtype=np.uint8)]
    sheet = tile(pictures, columns=1, cell_width=30)
    dark = (sheet == 0).all(axis=2)
    assert dark.any(axis=0).sum() == 30
    assert dark.any(axis=1).sum() == 15 + 60


@pytest.mark.parametrize(("number", "columns"), [(0, 2), (1, 0)])
def test_nothing_to_lay_out_is_refused(number: int, columns: int) -> None:
    with pytest.raises(ValueError, match="tile needs"):
        tile([np.zeros((2, 2, 3), dtype=np.uint8)] * number, columns)
