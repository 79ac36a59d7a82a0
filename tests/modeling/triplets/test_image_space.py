from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.modeling.triplets.decode import Candidates, Points
from centernet2.modeling.triplets.image_space import to_image
from centernet2.modeling.triplets.views import resized_view

from . import reference_detections as reference


def random_found(
    rng: np.random.Generator, views: int, output: tuple[int, int]
) -> tuple[Candidates, Points]:
    """Boxes and centres in cells, some far outside of the map, some on its border."""
    limit = np.array([output[1], output[0]])
    corners = rng.uniform(-0.3, 1.3, (views, 20, 2, 2))
    corners = np.where(rng.uniform(size=corners.shape) < 0.2, corners.round(), corners) * limit
    boxes = np.concatenate([corners.min(axis=2), corners.max(axis=2)], axis=2)
    scores = rng.uniform(size=(4, views, 20))
    scores[0, :, ::3] = -1
    labels = torch.tensor(rng.integers(0, 3, (views, 20)))
    candidates = Candidates(torch.tensor(boxes), *torch.tensor(scores[:3]), labels)
    points = torch.tensor(rng.uniform(-0.1, 1.1, (views, 20, 2)) * limit)
    return candidates, Points(points, torch.tensor(scores[3]), labels)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(20, 300),
    width=st.integers(20, 300),
    scale=st.sampled_from([1.0, 0.6, 1.8]),
    views=st.sampled_from([1, 2]),
    border=st.sampled_from([None, 5.0, 0.0]),
)
def test_boxes_and_centers_match_the_reference(seed, height, width, scale, views, border):
    rng = np.random.default_rng(seed)
    g = reference.geometry(height, width, scale)
    view = resized_view(torch.zeros(3, height, width), scale, 128)
    candidates, centers = random_found(rng, views, g.output)
    found, points = to_image(candidates, centers, view, g.output, border)
    for mirror in range(views):
        for n in range(20):
            row = mirror * 20 + n
            box = candidates.boxes[mirror, n].tolist()
            expected = reference.box_in_image(box, g, bool(mirror), border)
            if expected is None:
                assert found.scores[row] == -1
            else:
                assert found.scores[row] == candidates.scores[mirror, n]
                np.testing.assert_allclose(found.boxes[row], expected, rtol=1e-9, atol=1e-9)
            assert found.tl_scores[row] == candidates.tl_scores[mirror, n]
            assert found.br_scores[row] == candidates.br_scores[mirror, n]
            assert found.classes[row] == candidates.classes[mirror, n]
            point = centers.points[mirror, n].tolist()
            expected = reference.center_in_image(*point, g, bool(mirror))
            np.testing.assert_allclose(points.points[row], expected, rtol=1e-9, atol=1e-9)
            assert points.scores[row] == centers.scores[mirror, n]
            assert points.classes[row] == centers.classes[mirror, n]


def test_a_box_sticking_out_by_just_the_border_is_rejected():
    view = resized_view(torch.zeros(3, 255, 255), 1.0, 128)  # nothing is padded: 4 * 255 / 256
    for x1, valid in ((-5.0, False), (-4.9, True)):
        boxes = torch.tensor([[[x1, 10.0, 80.0, 90.0]]], dtype=torch.float64) * 64 / 255
        one = torch.ones(1, 1, dtype=torch.float64)
        candidates = Candidates(boxes, one, one, one, one.long())
        found, _ = to_image(candidates, None, view, (64, 64), 5.0)
        assert bool(found.scores[0] == 1) is valid
        np.testing.assert_allclose(found.boxes[0], [0.0, 10.0, 80.0, 90.0])
        everything, _ = to_image(candidates, None, view, (64, 64))
        assert everything.scores[0] == 1


def test_what_is_symmetric_is_found_at_the_same_place_in_the_mirror_image():
    view = resized_view(torch.zeros(3, 200, 301), 1.0, 128)
    width = 96
    box, point = torch.tensor([10.0, 4.0, 30.0, 40.0]), torch.tensor([20.5, 22.0])
    mirrored = torch.tensor([width - 30.0, 4.0, width - 10.0, 40.0])
    boxes = torch.stack([box, mirrored])[:, None]
    points = torch.stack([point, torch.tensor([width - 20.5, 22.0])])[:, None]
    one = torch.ones(2, 1)
    found, centers = to_image(
        Candidates(boxes, one, one, one, one.long()), Points(points, one, one.long()),
        view, (64, width),
    )  # fmt: skip
    torch.testing.assert_close(found.boxes[0], found.boxes[1])
    torch.testing.assert_close(centers.points[0], centers.points[1])


def test_the_candidates_given_are_left_as_they_are():
    rng = np.random.default_rng(0)
    candidates, centers = random_found(rng, 2, (32, 32))
    before = [part.clone() for part in (*candidates, *centers)]
    to_image(candidates, centers, resized_view(torch.zeros(3, 99, 99), 1.0, 128), (32, 32), 5.0)
    assert all(torch.equal(a, b) for a, b in zip(before, (*candidates, *centers)))
