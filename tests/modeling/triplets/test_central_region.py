from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.modeling.triplets.central_region import (
    central_regions,
    confirm_by_centers,
    matching_center_scores,
)
from centernet2.modeling.triplets.decode import Candidates, Points

from . import reference_detections as reference


def random_scene(
    rng: np.random.Generator, boxes: int, centers: int
) -> tuple[np.ndarray, np.ndarray, list[reference.Center]]:
    """Boxes below, at and above the area limit, and centres in, out of and on the border of
    regions, in float64."""
    size = rng.choice([30, 90, 150, 151, 300], (boxes, 2)).astype(float)
    low = rng.integers(0, 12, (boxes, 2)) * 10.0
    coordinates = np.concatenate([low, low + size], axis=1)
    labels = rng.integers(0, 2, boxes)
    points = []
    for _ in range(centers):
        x, y = rng.uniform(0, 300, 2)
        if boxes and rng.uniform() < 0.5:
            region = reference.region(coordinates[rng.integers(boxes)])
            x, y = rng.choice(region[0::2]), rng.choice(region[1::2])  # exactly a corner
        elif boxes and rng.uniform() < 0.8:
            x1, y1, x2, y2 = coordinates[rng.integers(boxes)]
            x, y = (x1 + x2) / 2 + rng.normal(scale=9), (y1 + y2) / 2 + rng.normal(scale=9)
        points.append(reference.Center(x, y, rng.uniform(), int(rng.integers(0, 2))))
    return coordinates, labels, points


def as_points(centers: list[reference.Center]) -> Points:
    values = torch.tensor(centers, dtype=torch.float64).view(-1, 4)
    return Points(values[:, :2], values[:, 2], values[:, 3].long())


def as_candidates(boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> Candidates:
    corner = torch.arange(len(boxes), dtype=torch.float64)
    return Candidates(
        torch.tensor(boxes), torch.tensor(scores), corner, -corner, torch.tensor(labels)
    )


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    boxes=st.integers(0, 12),
    centers=st.integers(0, 12),
    best=st.booleans(),
)
def test_boxes_and_scores_match_the_reference(seed, boxes, centers, best):
    rng = np.random.default_rng(seed)
    coordinates, labels, points = random_scene(rng, boxes, centers)
    scores = rng.permutation(boxes) / max(boxes, 1) + 0.01
    scores[::5] = -1
    expected = []
    for n, (box, label, score) in enumerate(zip(coordinates, labels, scores)):
        center = reference.center_score(box, label, points, best)
        if score >= 0 and center is not None:
            expected.append(((2 * score + center) / 3, n))
    expected.sort(key=lambda pair: -pair[0])

    found = confirm_by_centers(as_candidates(coordinates, labels, scores), as_points(points), best)
    order = [n for _, n in expected]
    assert found.tl_scores.tolist() == order and (-found.br_scores).tolist() == order
    np.testing.assert_allclose(found.scores, [score for score, _ in expected], rtol=1e-6)
    np.testing.assert_array_equal(found.boxes, coordinates[order])
    assert found.classes.tolist() == labels[order].tolist()


@pytest.mark.parametrize(("side", "n"), [(150.0, 3), (150.01, 5)])
def test_the_region_is_the_middle_third_up_to_the_area_limit(side, n):
    box = torch.tensor([10.0, 20.0, 10 + side, 20 + side], dtype=torch.float64)
    region = central_regions(box)
    middle = torch.tensor([10 + side / 2, 20 + side / 2] * 2, dtype=torch.float64)
    half = side / (2 * n)
    torch.testing.assert_close(region, middle + torch.tensor([-half, -half, half, half]))


def test_a_center_on_the_border_of_the_region_is_outside():
    box = torch.tensor([[0.0, 0.0, 90.0, 90.0]])
    label = torch.tensor([0])
    for x, score in ((30.0, -1.0), (30.001, 0.5), (60.0, -1.0)):
        center = Points(torch.tensor([[x, 45.0]]), torch.tensor([0.5]), label)
        assert matching_center_scores(box, label, center).tolist() == [score]


def test_the_first_match_counts_unless_the_best_is_asked_for():
    box, label = torch.tensor([[0.0, 0.0, 90.0, 90.0]]), torch.tensor([0])
    points = torch.full((3, 2), 45.0)
    centers = Points(points, torch.tensor([0.9, 0.2, 0.6]), torch.tensor([1, 0, 0]))
    assert matching_center_scores(box, label, centers).tolist() == [pytest.approx(0.2)]
    assert matching_center_scores(box, label, centers, best=True).tolist() == [pytest.approx(0.6)]


def test_images_side_by_side_are_those_one_by_one():
    rng = np.random.default_rng(0)
    scenes = [random_scene(rng, 9, 7) for _ in range(3)]
    boxes = torch.tensor(np.stack([s[0] for s in scenes]))
    labels = torch.tensor(np.stack([s[1] for s in scenes]))
    centers = [as_points(s[2]) for s in scenes]
    together = Points(*(torch.stack(parts) for parts in zip(*centers)))
    for best in (False, True):
        found = matching_center_scores(boxes, labels, together, best)
        for image in range(3):
            alone = matching_center_scores(boxes[image], labels[image], centers[image], best)
            assert torch.equal(found[image], alone)
            assert (alone >= 0).any()
