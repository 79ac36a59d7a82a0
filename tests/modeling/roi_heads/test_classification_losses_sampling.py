"""The random sets of classes of the federated loss: members, sizes and exact probabilities."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.modeling.roi_heads.classification_losses import (
    federated_classes,
    federated_weight,
)


def _sets(
    labels: list[list[int]], frequency: list[float], size: int, seed: int = 0
) -> list[set[int]]:
    """The drawn set of each image, from the labels of each image."""
    masks = federated_classes(
        torch.tensor([label for image in labels for label in image], dtype=torch.int64),
        [len(image) for image in labels],
        torch.tensor(frequency),
        size,
        torch.Generator().manual_seed(seed),
    )
    assert masks.shape == (len(labels), len(frequency))
    assert masks.dtype == torch.bool
    return [set(torch.nonzero(mask).flatten().tolist()) for mask in masks]


@settings(max_examples=80, deadline=None)
@given(
    labels=st.lists(st.lists(st.integers(0, 12), max_size=10), min_size=1, max_size=4),
    frequency=st.lists(st.sampled_from([0.0, 1.0, 3.0, 50.0]), min_size=12, max_size=12),
    size=st.integers(1, 20),
    seed=st.integers(0, 999),
)
def test_a_set_has_its_members_and_its_size(labels, frequency, size, seed):
    for image, got in zip(labels, _sets(labels, frequency, size, seed)):
        present = set(image) - {12}
        places = size - len(set(image))  # the background takes one when it is there
        available = {j for j in range(12) if frequency[j] > 0} - present
        assert present <= got
        assert got - present <= available
        assert len(got - present) == min(max(places, 0), len(available))


def test_present_classes_are_kept_though_they_are_more_than_the_set_may_hold():
    assert _sets([[0, 1, 2, 3, 4, 4], [5]], [1.0] * 8, 1) == [{0, 1, 2, 3, 4}, {5}]


def test_background_takes_one_of_the_places_of_its_image_alone():
    first, second, third = _sets([[0, 1], [0, 9], [9]], [1.0] * 9, 6)
    assert [len(first), len(second), len(third)] == [6, 5, 5]


def test_fewer_classes_than_places_are_all_drawn_but_those_in_no_image():
    assert _sets([[], [2, 4]], [1.0, 2.0, 0.0, 3.0], 50) == [{0, 1, 3}, {0, 1, 2, 3}]


def test_an_image_without_rois_draws_the_full_number():
    first, second = _sets([[], [0]], [1.0] * 9, 4)
    assert [len(first), len(second)] == [4, 4]


def _probabilities(
    weights: dict[int, float], draws: int, drawn: frozenset[int] = frozenset()
) -> Counter[frozenset[int]]:
    """Exact probability of each set when classes are drawn one by one without replacement."""
    rest = {j: w for j, w in weights.items() if w > 0 and j not in drawn}
    if draws == 0 or not rest:
        return Counter({drawn: 1.0})
    total: Counter[frozenset[int]] = Counter()
    for j, w in rest.items():
        for result, p in _probabilities(weights, draws - 1, drawn | {j}).items():
            total[result] += w / sum(rest.values()) * p
    return total


def test_the_enumeration_is_right_where_it_can_be_written_down():
    # 1 then 2 or 2 then 1 out of weights 1, 2, 5
    got = _probabilities({1: 1.0, 2: 2.0, 3: 5.0}, 2)
    assert got[frozenset({1, 2})] == pytest.approx(1 / 8 * 2 / 7 + 2 / 8 * 1 / 6)
    assert sum(got.values()) == pytest.approx(1.0)


FREQUENCY = [4.0, 1.0, 0.0, 2.0, 9.0, 3.0]
BACKGROUND = len(FREQUENCY)
# Labels of an image and |S|: 3 to 1 draws
CASES = [([], 3), ([0], 3), ([0, BACKGROUND], 4), ([BACKGROUND, BACKGROUND], 3), ([2, 4], 3)]
SAMPLES = 20000
# Every estimate is within five standard deviations of its exact value with probability at least
# 1 - 6e-7 (about, for counts are not quite normal). The tests below look at under 150 estimates,
# so with another seed one of them would fail without cause less than once in 10^4.
DEVIATIONS = 5.0


def _assert_near(share: float, exact: float, samples: int) -> None:
    assert abs(share - exact) <= DEVIATIONS * (exact * (1 - exact) / samples) ** 0.5


def _assert_unbiased(drawn: list[set[int]], labels: list[int], size: int) -> None:
    present = frozenset(labels) - {BACKGROUND}
    weights = {j: w for j, w in enumerate(FREQUENCY) if j not in present}
    exact = _probabilities(weights, size - len(set(labels)))
    counts = Counter(frozenset(s) - present for s in drawn)
    assert all(present <= s for s in drawn)
    assert set(counts) <= set(exact)
    for s, p in exact.items():
        _assert_near(counts[s] / len(drawn), p, len(drawn))
    for j in weights:
        included = sum(p for s, p in exact.items() if j in s)
        _assert_near(sum(j in s for s in drawn) / len(drawn), min(included, 1.0), len(drawn))


@pytest.mark.parametrize(("labels", "size"), CASES)
def test_sets_per_image_have_the_exact_probabilities(labels, size):
    # Images of other labels stand between them and must not matter
    other = [1, 3]
    drawn = _sets([labels, other] * SAMPLES, FREQUENCY, size, seed=1)
    _assert_unbiased(drawn[::2], labels, size)


@pytest.mark.parametrize(("labels", "size"), CASES[:3])
def test_the_set_of_an_iteration_has_the_exact_probabilities(labels, size):
    generator = torch.Generator().manual_seed(2)
    drawn = []
    for _ in range(SAMPLES // 5):
        weight = federated_weight(
            torch.tensor(labels, dtype=torch.int64),
            torch.tensor(FREQUENCY),
            size,
            generator=generator,
        )
        drawn.append(set(torch.nonzero(weight).flatten().tolist()))
    _assert_unbiased(drawn, labels, size)


def test_sets_of_neighbouring_images_are_independent():
    drawn = _sets([[]] * (2 * SAMPLES), FREQUENCY, 2, seed=3)
    exact = _probabilities(dict(enumerate(FREQUENCY)), 2)
    same = sum(a == b for a, b in zip(drawn[::2], drawn[1::2])) / SAMPLES
    _assert_near(same, sum(p * p for p in exact.values()), SAMPLES)


def test_weight_of_an_iteration_marks_the_classes_of_the_one_set():
    labels, frequency = torch.tensor([2, 5]), torch.ones(5)
    weight = federated_weight(labels, frequency, 3, generator=torch.Generator().manual_seed(7))
    (chosen,) = federated_classes(labels, [2], frequency, 3, torch.Generator().manual_seed(7))
    assert torch.equal(weight, chosen.float())


def test_weight_per_image_repeats_the_set_of_an_image_for_its_rois():
    labels, frequency, rois = torch.tensor([2, 5, 0]), torch.ones(5), [2, 0, 1]
    weight = federated_weight(labels, frequency, 3, rois, torch.Generator().manual_seed(7))
    chosen = federated_classes(labels, rois, frequency, 3, torch.Generator().manual_seed(7))
    assert torch.equal(weight, chosen[[0, 0, 2]].float())
    assert not torch.equal(chosen[0], chosen[2])
