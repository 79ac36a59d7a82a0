from __future__ import annotations

from itertools import count

import pytest

from centernet2.inference.batches import batched


@pytest.mark.parametrize("number", [0, 1, 3, 7])
@pytest.mark.parametrize("size", [1, 3])
def test_all_items_come_in_order(number: int, size: int) -> None:
    batches = list(batched(range(number), size))
    assert [item for batch in batches for item in batch] == list(range(number))
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(batches)


def test_endless_series_is_not_read_ahead() -> None:
    numbers = count()
    assert next(batched(numbers, 4)) == [0, 1, 2, 3]
    assert next(numbers) == 4
