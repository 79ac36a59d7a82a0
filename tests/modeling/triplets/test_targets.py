from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.modeling.peaks import gaussian_radius
from centernet2.modeling.triplets.targets import TargetSettings, TripletTargets, make_targets

from . import reference

CENTERNET = TargetSettings()
CORNERNET = TargetSettings(overlap=0.3, corrected_radius=True)
NUM_CLASSES = 3


def random_boxes(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """Float32 boxes; many are small, on the border, on whole pixels or equal to another."""
    scale = rng.choice([0.05, 0.3, 1.0], size=(count, 1))
    size = scale * rng.uniform(0.01, 1, (count, 2)) * [width - 1, height - 1]
    low = rng.uniform(0, 1, (count, 2)) * ([width - 1, height - 1] - size)
    boxes = np.concatenate([low, low + size], axis=1)
    whole = rng.uniform(size=count) < 0.3
    boxes[whole, :2] = np.floor(boxes[whole, :2])
    boxes[whole, 2:] = np.floor(boxes[whole, 2:]) + 1
    on_border = rng.uniform(size=(count, 4)) < 0.1
    border = np.array([0, 0, width - 1, height - 1], dtype=float)
    boxes = np.where(on_border, border, boxes)
    if count > 3:
        boxes[-1] = boxes[0]
    return np.minimum(boxes, [width - 1, height - 1] * 2).astype(np.float32)


def targets_of(
    boxes: list[np.ndarray], classes: list[np.ndarray], sizes: Any, options: TargetSettings
) -> tuple[TripletTargets, dict[str, reference.Points]]:
    found = make_targets(
        [torch.tensor(b) for b in boxes],
        [torch.tensor(c) for c in classes],
        *sizes,
        NUM_CLASSES,
        options,
    )
    expected = reference.keypoint_targets(
        boxes, classes, *sizes, NUM_CLASSES, options.overlap, options.corrected_radius,
        options.corner_sigma, options.center_sigma,
    )  # fmt: skip
    return found, expected


def assert_same(found: TripletTargets, expected: dict[str, reference.Points]) -> None:
    counts = [len(cells) for cells in expected["tl"].cells]
    assert found.counts.tolist() == counts
    assert found.most == max(counts)
    assert found.image.tolist() == [b for b, n in enumerate(counts) for _ in range(n)]
    assert found.place.tolist() == [i for n in counts for i in range(n)]
    for name, points in expected.items():
        got = getattr(found, name)
        assert got.cell.tolist() == [cell for cells in points.cells for cell in cells]
        offsets = np.array([o for image in points.offsets for o in image]).reshape(-1, 2)
        np.testing.assert_allclose(got.offset, offsets, atol=1e-6)
        np.testing.assert_allclose(got.heat, points.heat, rtol=1e-6, atol=1e-12)
        assert got.peak.tolist() == np.flatnonzero(points.heat == 1).tolist()
        assert got.heat.flatten()[got.peak].eq(1).all()
        assert int(got.heat.eq(1).sum()) == len(got.peak)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    grid=st.sampled_from([(511, 511, 128, 128), (127, 255, 32, 64), (128, 64, 32, 16)]),
    options=st.sampled_from(
        [CENTERNET, CORNERNET, TargetSettings(overlap=0.5, corner_sigma=5, center_sigma=30)]
    ),
)
def test_targets_match_the_reference(seed, counts, grid, options):
    rng = np.random.default_rng(seed)
    height, width, *output = grid
    boxes = [random_boxes(rng, count, height, width) for count in counts]
    classes = [rng.integers(0, NUM_CLASSES, count) for count in counts]
    assert_same(*targets_of(boxes, classes, ((height, width), tuple(output)), options))


def test_more_boxes_than_the_published_limit():
    rng = np.random.default_rng(0)
    boxes = [random_boxes(rng, 300, 127, 127), random_boxes(rng, 2, 127, 127)]
    classes = [rng.integers(0, NUM_CLASSES, len(b)) for b in boxes]
    found, expected = targets_of(boxes, classes, ((127, 127), (32, 32)), CENTERNET)
    assert found.most == 300
    assert_same(found, expected)


def test_no_box_at_all():
    none = np.zeros((0, 4), dtype=np.float32)
    nothing = np.zeros(0, dtype=np.int64)
    found, expected = targets_of([none, none], [nothing] * 2, ((127, 127), (32, 32)), CENTERNET)
    assert_same(found, expected)
    assert found.most == 0 and not found.tl.heat.any()


def test_a_box_up_to_the_very_edge_learns_in_the_last_cell():
    box = np.array([[3.0, 5.0, 128.0, 128.0]], dtype=np.float32)
    found, expected = targets_of([box], [np.array([1])], ((128, 128), (32, 32)), CENTERNET)
    assert_same(found, expected)
    assert found.br.cell.tolist() == [32 * 32 - 1]
    assert found.br.offset.tolist() == [[1.0, 1.0]]


def test_corners_alone_for_cornernet():
    boxes = [torch.tensor([[3.0, 5.0, 90.0, 80.0]])]
    found = make_targets(
        boxes, [torch.tensor([0])], (127, 127), (32, 32), 1, TargetSettings(centers=False)
    )
    assert found.ct is None


@settings(max_examples=200, deadline=None)
@given(
    height=st.integers(0, 200),
    width=st.integers(0, 200),
    overlap=st.sampled_from([0.3, 0.5, 0.7, 0.9]),
    corrected=st.booleans(),
)
def test_radius_matches_the_reference(height, width, overlap, corrected):
    sides = torch.tensor([height, width], dtype=torch.float64)
    found = gaussian_radius(sides[:1], sides[1:], overlap, corrected)
    assert max(0, int(found)) == reference.radius(height, width, overlap, corrected)


def test_radius_keeps_the_published_quirk():
    """The published minimum is always its third term, which divides by 2 instead of 8 * 0.7."""
    side = torch.arange(1, 129, dtype=torch.float64)
    height, width = torch.cartesian_prod(side, side).unbind(dim=1)
    published = gaussian_radius(height, width, 0.7)
    s, p = height + width, height * width
    third = ((4 * 0.49 * s**2 + 16 * 0.21 * p).sqrt() - 1.4 * s) / 2
    torch.testing.assert_close(published, third)


@pytest.mark.parametrize("overlap", [0.3, 0.7])
def test_corrected_radius_is_the_least_that_reaches_the_overlap(overlap):
    """Of the three cases, the one that overlaps least overlaps just as much as asked."""
    rng = np.random.default_rng(1)
    for height, width in rng.integers(2, 120, (50, 2)):
        sides = torch.tensor([[height], [width]], dtype=torch.float64)
        r = float(gaussian_radius(*sides, overlap, corrected=True))
        area = float(height * width)
        shared = (height - r) * (width - r)
        shifted = shared / (2 * area - shared)
        shrunk = (height - 2 * r) * (width - 2 * r) / area
        grown = area / ((height + 2 * r) * (width + 2 * r))
        assert min(shifted, shrunk, grown) == pytest.approx(overlap)


def test_targets_of_float64_boxes_stay_in_float64():
    """x * 128 / 511 just below 5 must not be rounded up to the next cell."""
    x = np.nextafter(5 * 511 / 128, 0)
    box = torch.tensor([[x, 0.0, 500.0, 500.0]], dtype=torch.float64)
    found = make_targets([box], [torch.tensor([0])], (511, 511), (128, 128), 1, CENTERNET)
    assert found.tl.cell.tolist() == [4]
