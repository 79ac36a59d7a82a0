from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from centernet2.inference.colors import color_of
from centernet2.inference.plates import fit_plate, place_plates

coordinate = st.floats(-1e9, 1e9) | st.sampled_from([0.0, 0.5, 64.0, float("inf"), -float("inf")])


@given(
    boxes=st.lists(st.tuples(*[coordinate] * 4), min_size=1, max_size=12),
    image=st.tuples(st.integers(30, 500), st.integers(60, 500)),
    plate=st.tuples(st.integers(1, 30), st.integers(1, 60)),
)
def test_plates_lie_inside_the_image_and_hardly_on_each_other(
    boxes: list[tuple[float, ...]], image: tuple[int, int], plate: tuple[int, int]
) -> None:
    spots = place_plates(np.array(boxes), [plate] * len(boxes), image)
    assert len(spots) == len(boxes)
    assert spots[0] is not None
    covered = np.zeros(image, dtype=int)
    for spot in spots:
        if spot is not None:
            top, left = spot
            assert 0 <= top <= image[0] - plate[0]
            assert 0 <= left <= image[1] - plate[1]
            under = covered[top : top + plate[0], left : left + plate[1]]
            assert (under > 0).sum() <= plate[0] * plate[1] / 10
            under += 1


def test_plate_sits_on_its_box_where_there_is_room() -> None:
    assert place_plates(np.array([[20, 40, 60, 90]]), [(10, 30)], (100, 100)) == [(30, 20)]


def test_plate_of_a_box_at_the_top_goes_inside_the_image() -> None:
    (spot,) = place_plates(np.array([[20, 0, 60, 90]]), [(10, 30)], (100, 100))
    assert spot == (0, 20)


def test_crowd_leaves_out_what_finds_no_place() -> None:
    spots = place_plates(np.array([[10, 10, 20, 20]] * 50), [(10, 30)] * 50, (100, 100))
    placed = [spot for spot in spots if spot is not None]
    assert 2 <= len(placed) < 10
    assert spots[0] is not None


@given(
    text=st.text(max_size=40),
    size=st.integers(8, 60),
    room=st.tuples(st.integers(0, 80), st.integers(0, 200)),
)
def test_plate_fits_into_its_room(text: str, size: int, room: tuple[int, int]) -> None:
    plate = fit_plate(text, size, color_of(0), room)
    if plate is not None:
        assert plate.shape[0] <= room[0]
        assert plate.shape[1] <= room[1]
        assert plate.dtype == np.uint8


@pytest.mark.parametrize("name", ["person", "Zebrastreifen für Füße", "пешеход", "πεζός"])
def test_text_is_seen_in_any_alphabet(name: str) -> None:
    plate = fit_plate(name, 20, color_of(0), (100, 1000))
    box = fit_plate("\uffff" * len(name), 20, color_of(0), (100, 1000))  # glyphs that are missing
    assert plate is not None
    assert box is not None
    inked = (plate != color_of(0)).any(axis=2).mean()
    assert 0.1 < inked < 0.6
    assert plate.shape != box.shape or (plate != box).any()


def test_long_names_give_way_to_the_score() -> None:
    widths = [fit_plate(t, 20, color_of(0), (30, 60)) for t in ("97%", "a very long name 97%")]
    assert all(w is not None and w.shape[1] <= 60 for w in widths)
    assert fit_plate("pedestrian 97%", 20, color_of(0), (30, 30)) is not None
    assert fit_plate("pedestrian 97%", 20, color_of(0), (30, 5)) is None
    assert fit_plate("", 20, color_of(0), (30, 60)) is None
