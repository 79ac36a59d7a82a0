from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from centernet2.inference.read_ahead import read_ahead


def test_results_come_in_order_whichever_is_done_first() -> None:
    done = [threading.Event() for _ in range(4)]

    def work(number: int) -> int:
        if number < 3:
            assert done[number + 1].wait(10)  # the later ones end first
        done[number].set()
        return 10 * number

    assert list(read_ahead(work, range(4), ahead=3)) == [0, 10, 20, 30]


def test_no_more_than_allowed_is_taken_ahead() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = read_ahead(lambda number: number, items(), ahead=3)
    assert taken == []
    for number in range(5):
        assert next(results) == number
        assert len(taken) == number + 4
    results.close()
    assert len(taken) == 8


def test_error_comes_at_its_item() -> None:
    results = read_ahead(lambda number: 1 // number, [1, 1, 0, 1], ahead=2)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
