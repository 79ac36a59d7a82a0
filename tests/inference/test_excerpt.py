from __future__ import annotations

from fractions import Fraction

import pytest

from centernet2.errors import UserError
from centernet2.inference.excerpt import Excerpt, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        (".25", 0.25),
        ("1:30", 90),
        ("90:00", 5400),
        ("1:02:03.5", 3723.5),
        (" 0 ", 0),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == Fraction(seconds)


def test_a_time_is_exact() -> None:
    assert seconds_of("0.1") == Fraction(1, 10)


@pytest.mark.parametrize("text", ["", "-1", "1m", "1:", ":30", "1:60", "1:60:00", "1:2:3:4", "inf"])
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("start", "end", "every", "text"),
    [
        ("2", "2", 1, "nothing lies between 2 s and 2 s"),
        ("-1", None, 1, "from -1 s"),
        ("0", None, 0, "number 0"),
    ],
)
def test_impossible_excerpts(start: str, end: str | None, every: int, text: str) -> None:
    with pytest.raises(UserError, match=text):
        Excerpt(Fraction(start), None if end is None else Fraction(end), every)


def test_number_of_frames() -> None:
    rate, ten = Fraction(25), Fraction(10)
    assert Excerpt().number_of_frames(ten, rate) == 250
    assert Excerpt(every=100).number_of_frames(ten, rate) == 3
    assert Excerpt(Fraction(4), Fraction(6)).number_of_frames(ten, rate) == 50
    assert Excerpt(Fraction(4), Fraction(60)).number_of_frames(ten, rate) == 150
    assert Excerpt(Fraction(4), Fraction(6)).number_of_frames(None, rate) == 50
    assert Excerpt(Fraction(4)).number_of_frames(None, rate) is None
