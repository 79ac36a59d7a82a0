from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from centernet2.engine.sampling_weights import class_aware_weights, data_set_weights


def record(*labels: int, crowd: bool = False) -> dict[str, Any]:
    return {"annotations": [{"category_id": c, "iscrowd": int(crowd)} for c in labels]}


def test_an_image_weighs_the_inverse_frequencies_of_its_distinct_classes() -> None:
    records = [record(0, 0, 0), record(0, 1), record(0, 2), record(), {}]
    weights = class_aware_weights(records)
    assert weights.dtype == torch.float64
    expected = [1 / 3, 1 / 3 + 1, 1 / 3 + 1, 0.0, 0.0]
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64))


def test_crowds_count_like_other_annotations() -> None:
    weights = class_aware_weights([record(4), record(4, crowd=True)])
    torch.testing.assert_close(weights, torch.tensor([0.5, 0.5], dtype=torch.float64))


@given(st.lists(st.lists(st.integers(0, 6), max_size=5), min_size=1, max_size=12))
def test_every_class_contributes_one(images: list[list[int]]) -> None:
    """Against the formula, image by image and class by class."""
    weights = class_aware_weights([record(*labels) for labels in images]).tolist()
    for labels, weight in zip(images, weights):
        formula = sum(
            1 / sum(1 for other in images if label in other) for label in dict.fromkeys(labels)
        )
        assert math.isclose(weight, formula, rel_tol=1e-12)
    assert math.isclose(sum(weights), len({c for labels in images for c in labels}), rel_tol=1e-9)


def test_data_sets_weigh_by_ratio_whatever_their_sizes() -> None:
    small, large = data_set_weights([10, 40], [3, 1])
    # (40 / 10) * 3 / 4 and (40 / 40) * 1 / 4
    assert small.tolist() == [3.0] * 10
    assert large.tolist() == [0.25] * 40
    assert small.sum() == 3 * large.sum()
