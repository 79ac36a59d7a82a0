from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from centernet2.export.parity import Parity, compare


def _outputs(**changes: Any) -> dict[str, Any]:
    boxes = np.array([[0, 0, 10, 10], [20, 0, 40, 30], [21, 0, 40, 30]], dtype=np.float32)
    return {
        "boxes": boxes,
        "scores": np.array([0.9, 0.8, 0.7], dtype=np.float32),
        "labels": np.array([0, 1, 1]),
        "masks": np.full((3, 4, 4), 0.25, dtype=np.float32),
        **changes,
    }


def test_order_does_not_matter() -> None:
    found = {name: value[::-1].copy() for name, value in _outputs().items()}
    assert compare(_outputs(), found) == Parity(3, 3, 3, 0.0, 0.0, 0.0)


def test_greatest_differences_of_pairs() -> None:
    expected, found = _outputs(), _outputs()
    found["boxes"] = found["boxes"] + np.array([[0], [0], [0.5]], dtype=np.float32)
    found["scores"] = found["scores"] - np.array([0.25, 0, 0], dtype=np.float32)
    found["masks"][1, 2, 3] = 0.75
    parity = compare(expected, found)
    assert (parity.box, parity.score, parity.mask) == pytest.approx((0.5, 0.25, 0.5))
    assert parity.within(0.5)
    assert not parity.within(0.4)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": np.array([0, 1, 0])},
        {"boxes": np.array([[0, 0, 10, 10], [20, 0, 40, 30], [60, 0, 80, 30]], np.float32)},
    ],
)
def test_another_class_or_place_is_no_match(changes: dict[str, Any]) -> None:
    parity = compare(_outputs(), _outputs(**changes))
    assert (parity.expected, parity.found, parity.matched) == (3, 3, 2)
    assert not parity.within(1e9)


def test_too_many_and_too_few() -> None:
    less = {name: value[:2] for name, value in _outputs().items()}
    assert not compare(_outputs(), less).within(1)
    assert not compare(less, _outputs()).within(1)
    none = {name: value[:0] for name, value in _outputs().items()}
    assert compare(none, none).within(0)
    assert not compare(_outputs(), none).within(1)


def test_pasted_masks_by_their_overlap() -> None:
    masks = np.zeros((3, 4, 4), dtype=bool)
    masks[:, :2] = True
    other = masks.copy()
    other[1, 1, :2] = False
    assert compare(_outputs(masks=masks), _outputs(masks=other)).mask == pytest.approx(2 / 8)


def test_worst_of_several() -> None:
    worst = Parity.worst([Parity(3, 4, 3, 0.1, 0.5, 0.0), Parity(1, 1, 1, 0.2, 0.3, 0.4)])
    assert worst == Parity(4, 5, 4, 0.2, 0.5, 0.4)
