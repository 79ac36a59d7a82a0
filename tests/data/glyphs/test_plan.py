from __future__ import annotations

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.data.glyphs.plan import frequency_weights, plan_split
from centernet2.data.glyphs.variants import VARIANTS, GlyphConfig

SMALL, MEDIUM, LARGE, _ = VARIANTS


def config(**changes):
    return GlyphConfig(**{"name": "a", "num_train": 40, "num_val": 20, **changes})


def image_counts(plans, count):
    images = np.zeros(count, dtype=int)
    for plan in plans:
        images[list({planned.category for planned in plan.objects if planned.labelled})] += 1
    return images


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
@pytest.mark.parametrize("split", ["train", "val"])
def test_every_category_of_a_variant_is_labelled_somewhere(variant, split):
    counts = image_counts(plan_split(variant, split), variant.num_categories)
    assert counts.min() >= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.sampled_from(["uniform", "long_tailed"]), st.integers(0, 1000))
def test_every_category_occurs_where_there_is_room(count, frequencies, seed):
    plans = plan_split(
        config(num_categories=count, frequencies=frequencies, seed=seed, objects_per_image=(2, 4)),
        "train",
    )
    assert {planned.category for plan in plans for planned in plan.objects} == set(range(count))
    assert all(2 <= len(plan.objects) <= 4 for plan in plans)


def test_too_few_places_are_shared_without_a_repeat():
    plans = plan_split(config(num_categories=1000, num_val=3, objects_per_image=(4, 4)), "val")
    shown = [planned.category for plan in plans for planned in plan.objects]
    assert len(shown) == len(set(shown)) == 12


def test_plans_follow_from_the_seed():
    assert plan_split(MEDIUM, "val") == plan_split(MEDIUM, "val")
    assert plan_split(config(seed=1), "train") != plan_split(config(seed=2), "train")
    assert plan_split(config(num_val=40), "val") != plan_split(config(num_val=40), "train")


def test_uniform_frequencies_are_even():
    counts = image_counts(plan_split(MEDIUM, "train"), 80)
    assert counts.max() < 1.5 * counts.min()


def test_the_long_tail_has_rare_common_and_frequent_categories():
    counts = image_counts(plan_split(LARGE, "train"), 1203)
    rare, frequent = (counts <= 10).sum(), (counts > 100).sum()
    common = 1203 - rare - frequent
    assert min(rare, common, frequent) > 100
    assert counts.max() > 100 * counts.min()


def test_validation_may_show_all_categories_equally_often():
    settings = config(
        num_categories=40,
        num_train=300,
        num_val=300,
        frequencies="long_tailed",
        val_frequencies="uniform",
    )
    train = image_counts(plan_split(settings, "train"), 40)
    val = image_counts(plan_split(settings, "val"), 40)
    assert train.max() > 50 * train.min()
    assert val.max() < 2 * val.min()


def test_weights_are_a_shuffled_geometric_series():
    weights = frequency_weights(LARGE)
    assert weights.sum() == pytest.approx(1)
    ordered = np.sort(weights)
    assert ordered[-1] / ordered[0] == pytest.approx(1000)
    np.testing.assert_allclose(np.diff(np.log(ordered)), np.log(1000) / 1202, rtol=1e-6)
    assert abs(np.corrcoef(np.arange(1203), np.log(weights))[0, 1]) < 0.1
    assert frequency_weights(config(num_categories=1, frequencies="long_tailed")) == [1.0]


def test_rare_categories_are_placed_first():
    plans = plan_split(LARGE, "val")
    totals = collections.Counter(planned.category for plan in plans for planned in plan.objects)
    for plan in plans:
        amounts = [totals[planned.category] for planned in plan.objects]
        assert amounts == sorted(amounts)


def test_coco_plans_label_everything():
    for plan in plan_split(SMALL, "train"):
        assert all(planned.labelled for planned in plan.objects)
        assert plan.negatives == plan.not_exhaustive == ()


def test_federated_labels_are_consistent():
    plans = plan_split(LARGE, "train")
    unlabelled = partly = 0
    for plan in plans:
        present = {planned.category for planned in plan.objects}
        labelled = {planned.category for planned in plan.objects if planned.labelled}
        assert len(plan.negatives) == len(set(plan.negatives)) == 20
        # What is said to be absent is absent, labelled or not.
        assert not present & set(plan.negatives)
        assert set(plan.not_exhaustive) <= labelled
        for category in plan.not_exhaustive:
            flags = [planned.labelled for planned in plan.objects if planned.category == category]
            assert flags == [True] + [False] * (len(flags) - 1)
            assert len(flags) > 1
        unlabelled += len(present - labelled)
        partly += len(plan.not_exhaustive)
    assert unlabelled > 1000
    assert partly > 50


def test_negatives_are_limited_by_the_categories_there_are():
    for plan in plan_split(config(num_categories=6, style="lvis"), "train"):
        present = {planned.category for planned in plan.objects}
        assert set(plan.negatives) == set(range(6)) - present
