from __future__ import annotations

import itertools

import numpy as np
import pytest

from centernet2.inference.colors import ObjectColors, color_of, contrasting


def test_neighbouring_colours_differ() -> None:
    colors = np.array([color_of(n) for n in range(20)], dtype=float)
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(colors, 2)]
    assert min(distances) > 30


def test_colours_never_change_between_releases() -> None:
    assert [color_of(n) for n in (0, 1, 1202)] == [(255, 56, 13), (102, 119, 255), (184, 18, 111)]


@pytest.mark.parametrize("number", range(100))
def test_text_contrasts_with_its_plate(number: int) -> None:
    def luminance(color: tuple[int, ...]) -> float:
        c = np.array(color) / 255
        return float(
            np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
            @ [0.2126, 0.7152, 0.0722]
        )

    dark, light = sorted(luminance(c) for c in (color_of(number), contrasting(color_of(number))))
    assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG AA


def test_objects_keep_their_numbers_when_their_order_changes() -> None:
    number = ObjectColors()
    a, b, c = [0, 0, 10, 20], [30, 0, 40, 20], [60, 0, 70, 20]
    assert number(np.array([a, b])) == [0, 1]
    assert number(np.array([np.add(b, 1), np.add(a, 1)])) == [1, 0]
    assert number(np.array([c, np.add(b, 2)])) == [0, 1]  # a has gone: its number is free


def test_each_object_has_a_number_of_its_own() -> None:
    number = ObjectColors()
    box = [0.0, 0.0, 10.0, 10.0]
    assert number(np.array([box])) == [0]
    assert sorted(number(np.array([box, box, box]))) == [0, 1, 2]
    assert number(np.zeros((0, 4))) == []
    assert number(np.array([box])) == [0]
