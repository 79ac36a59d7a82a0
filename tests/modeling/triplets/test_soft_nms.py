from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.modeling.soft_nms import SoftNMSSettings, soft_nms

from . import reference_detections as reference


def random_rows(seed: int, count: int, scores: str) -> np.ndarray:
    """Boxes in clusters, some equal, some one pixel apart; scores all different, of few values,
    or so low that decay removes many."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 3, (count, 2)) * 60 + rng.normal(scale=6, size=(count, 2))
    size = rng.uniform(5, 60, (count, 2))
    boxes = np.concatenate([corner, corner + size], axis=1)
    boxes[::4] = np.round(boxes[::4])
    if count > 2:
        boxes[1] = boxes[0]
        boxes[2] = boxes[0] + [boxes[0, 2] - boxes[0, 0] + 0.5, 0] * 2
    values = {
        "different": rng.uniform(0.01, 1, count),
        "few": rng.choice([0.25, 0.5, 0.75], count),
        "low": rng.uniform(0.0005, 0.004, count),
    }[scores]
    corners = rng.choice([0.0, 0.1, 0.5, 0.9], (count, 2))
    return np.concatenate([boxes, values[:, None], corners], axis=1)


CASES = {
    "seed": st.integers(0, 2**31),
    "count": st.integers(0, 30),
    "scores": st.sampled_from(["different", "few", "low"]),
    "name": st.sampled_from(["gaussian", "linear", "hard"]),
    "merge": st.booleans(),
    "carry": st.booleans(),
    "threshold": st.sampled_from([0.001, 0.3]),
    "exponent": st.sampled_from([10.0, 1.0]),
}


@settings(max_examples=150, deadline=None)
@given(**CASES)
def test_rows_are_those_of_the_plain_loop(
    seed, count, scores, name, merge, carry, threshold, exponent
):
    rows = random_rows(seed, count, scores)
    before = rows.copy()
    method = reference.Method(name, 0.5, 0.5, threshold, merge, exponent, carry)
    expected, left = reference.soft_nms(rows.tolist(), method)
    # Without carry the corners' scores stay where they were
    columns = 7 if carry else 5
    expected = np.array(expected).reshape(-1, 7)[:, :columns]
    for keep_stale in (True, False):
        options = SoftNMSSettings(
            method=name, score_threshold=threshold, merge=merge, merge_exponent=exponent,
            keep_stale=keep_stale, carry_scores=carry,
        )  # fmt: skip
        found = soft_nms(rows, options)
        assert found.shape == (count if keep_stale else left, 7)
        np.testing.assert_allclose(found[:, :columns], expected[: len(found)], rtol=1e-9)
    assert np.array_equal(rows, before)


@settings(max_examples=80, deadline=None)
@given(limit=st.integers(1, 12), floor=st.sampled_from([0.0, 0.05, 0.4]), **CASES)
def test_stopping_early_changes_nothing_that_matters(
    limit, floor, seed, count, scores, name, merge, carry, threshold, exponent
):
    rows = random_rows(seed, count, scores)
    options = SoftNMSSettings(
        method=name, score_threshold=threshold, merge=merge, merge_exponent=exponent,
        carry_scores=carry,
    )  # fmt: skip
    everything = soft_nms(rows, options)
    short = soft_nms(rows, options, limit, floor)

    def matter(found: np.ndarray) -> np.ndarray:
        above = [row for row in found[:, :5].tolist() if row[4] >= floor]
        return np.array(sorted(reference.best(above, limit))).reshape(-1, 5)

    np.testing.assert_array_equal(matter(short), matter(everything))


def test_early_stopping_leaves_most_rows_untouched():
    rows = random_rows(0, 400, "different")
    options = SoftNMSSettings()
    everything, short = soft_nms(rows, options), soft_nms(rows, options, limit=5)
    assert (everything[:, 4] != short[:, 4]).sum() > 100


def test_a_moved_row_stays_behind_with_its_old_score():
    """B falls below the threshold and C takes its place; C's old row is the stale one."""
    a, b = [0, 0, 99, 99, 0.9, 1, 1], [0, 0, 99, 99, 0.005, 1, 1]
    c = [0, 0, 99, 49, 0.5, 1, 1]
    options = SoftNMSSettings(score_threshold=0.01)
    found = soft_nms(np.array([a, b, c], dtype=np.float32), options)
    decayed = 0.5 * np.exp(-(0.5**2) / 0.5)
    np.testing.assert_allclose(found[:, 4], [0.9, decayed, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(found[1, :4], found[2, :4])
    options = SoftNMSSettings(score_threshold=0.01, keep_stale=False)
    assert len(soft_nms(np.array([a, b, c], dtype=np.float32), options)) == 2


def test_merging_weighs_with_the_scores_that_stayed_behind():
    """The better box comes second: it is swapped to the front, the corners' scores are not."""
    rows = np.array([[0, 0, 80, 80, 0.4, 0.2, 0.2], [10, 10, 90, 90, 0.8, 0.6, 0.6]])
    shared, area = 71.0 * 71.0, 81.0 * 81.0
    share = (1 - np.exp(-((shared / (2 * area - shared)) ** 2) / 0.5)) ** 10
    for carry, own, other in ((False, 0.2, 0.6), (True, 0.6, 0.2)):
        found = soft_nms(rows, SoftNMSSettings(merge=True, carry_scores=carry))
        expected = (own * 10 + share * other * 0) / (own + share * other)
        np.testing.assert_allclose(found[0, :2], expected)


def test_float32_stays_float32_and_agrees():
    rows = random_rows(3, 50, "different").astype(np.float32)
    options = SoftNMSSettings(merge=True)
    found = soft_nms(rows, options)
    expected = soft_nms(rows.astype(np.float64), options)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="'gaussian', 'linear' or 'hard', not 'matrix'"):
        SoftNMSSettings(method="matrix")
