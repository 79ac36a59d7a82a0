from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.modeling.soft_nms import SoftNMSSettings
from centernet2.modeling.triplets.decode import Candidates
from centernet2.modeling.triplets.detections import (
    Detections,
    best_detections,
    round_detections,
    suppress,
)

from . import reference_detections as reference


def random_candidates(seed: int, count: int, num_classes: int) -> Candidates:
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 4, (count, 2)) * 50 + rng.normal(scale=5, size=(count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 60, (count, 2))], axis=1)
    scores = rng.uniform(0.001, 1, (3, count))
    scores[0] = np.where(rng.uniform(size=count) < 0.2, 0.5, scores[0])
    scores[0, ::7] = -1
    labels = torch.tensor(rng.integers(0, num_classes, count))
    values = torch.tensor(np.concatenate([boxes.T, scores]), dtype=torch.float32)
    return Candidates(values[:4].T, *values[4:], labels)


def plain(candidates: Candidates, method: reference.Method, limit: int) -> np.ndarray:
    """All classes completely, then the cut; sorted rows of box, score, class."""
    rows = []
    for label in sorted(set(candidates.classes.tolist())):
        chosen = (candidates.classes == label) & (candidates.scores >= 0)
        scores = torch.stack([candidates.scores, candidates.tl_scores, candidates.br_scores])
        table = torch.cat([candidates.boxes, scores.T], dim=1)[chosen]
        found, _ = reference.soft_nms(table.tolist(), method)
        rows += [[*row[:5], label] for row in found]
    return np.array(sorted(reference.best(rows, limit), key=lambda r: -r[4])).reshape(-1, 6)


def test_nothing_to_suppress():
    found = suppress(random_candidates(0, 0, 1), SoftNMSSettings())
    assert found.boxes.shape == (0, 4) and found.scores.shape == found.classes.shape == (0,)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 80),
    num_classes=st.sampled_from([1, 3, 20]),
    limit=st.sampled_from([5, 30, 100]),
    merge=st.booleans(),
)
def test_detections_are_those_of_the_plain_way(seed, count, num_classes, limit, merge):
    assert_plain(random_candidates(seed, count, num_classes), limit, merge)


@pytest.mark.parametrize("seed", range(4))
def test_classes_that_stop_early_do_not_hide_later_ones(seed):
    """Crowded classes, many more boxes than detections: the floor rises from class to class."""
    assert_plain(random_candidates(seed, 300, 4), limit=40, merge=False)


def assert_plain(candidates: Candidates, limit: int, merge: bool) -> None:
    found = suppress(candidates, SoftNMSSettings(merge=merge), limit)
    expected = plain(candidates, reference.Method(merge=merge), limit)
    assert len(found.scores) == len(expected)
    np.testing.assert_allclose(found.scores, expected[:, 4], rtol=1e-4, atol=1e-6)

    # Equal scores are in no particular order, so each box has its like on the other side
    rows = np.column_stack([found.boxes, 1000 * found.classes, 1000 * found.scores])
    likes = expected * [1, 1, 1, 1, 1000, 1000]
    apart = np.abs(rows[:, None] - likes[:, [0, 1, 2, 3, 5, 4]]).max(axis=2)
    assert (apart.min(axis=0, initial=0.1) < 0.05).all()
    assert (apart.min(axis=1, initial=0.1) < 0.05).all()


def test_ties_with_the_last_stay_or_go():
    scores = torch.tensor([0.5, 0.9, 0.5, 0.1, 0.5])
    found = Detections(torch.arange(20.0).view(5, 4), scores, torch.arange(5))
    assert best_detections(found, 2).classes.tolist() == [1, 0, 2, 4]
    assert best_detections(found, 2, keep_ties=False).classes.tolist() == [1, 0]
    assert best_detections(found, 9).classes.tolist() == [1, 0, 2, 4, 3]


def test_scores_and_sides_are_rounded_as_in_the_published_files():
    boxes = torch.tensor([[1.234, 5.678, 11.251, 6.679]])
    found = round_detections(Detections(boxes, torch.tensor([0.98765]), torch.tensor([1])))
    size = found.boxes[0, 2:] - found.boxes[0, :2]
    values = [*found.boxes[0, :2].tolist(), *size.tolist(), float(found.scores[0])]
    expected = [float(f"{v:.2f}") for v in (1.234, 5.678, 11.251 - 1.234, 6.679 - 5.678, 0.98765)]
    assert values == pytest.approx(expected, abs=1e-5)
