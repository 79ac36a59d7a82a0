from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from centernet2.modeling.centernet.box_batch import TargetParams, gather_boxes
from centernet2.modeling.centernet.grid import make_grid
from centernet2.modeling.centernet.more_positives import more_positives

from ...layers.reference import single_box_loss
from . import reference
from .reference import Params
from .scenes import Scene, pyramid, scenes

ONE_LEVEL = Params([[0, 1e6]], 0.8, 4.0)


def _more_positives(
    scene: Scene,
    prediction: np.ndarray,
    threshold: float,
    topk: int,
    kind: str = "giou",
    clamp: bool = False,
) -> Counter[tuple[int, int]]:
    params = scene.params
    grid = make_grid(
        [(lv.height, lv.width) for lv in scene.levels], [lv.stride for lv in scene.levels]
    )
    batch = gather_boxes(
        grid,
        [torch.tensor(b, dtype=torch.float32) for b in scene.boxes],
        [torch.tensor(c) for c in scene.classes],
        TargetParams(soi=params.soi, delta=params.delta, min_radius=params.min_radius),
        scene.image_sizes if clamp else None,
    )
    index, cls = more_positives(
        grid,
        batch,
        torch.tensor(prediction, dtype=torch.float32),
        threshold=threshold,
        topk=topk,
        kind=kind,
    )
    return Counter(zip(index.tolist(), cls.tolist()))


def _predictions_near_the_truth(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Each cell predicts some box of its image, more or less: costs on both sides of 0.2."""
    out = []
    for boxes in scene.boxes:
        for cell in reference.cells(scene.levels):
            stride = scene.levels[cell.level].stride
            prediction = rng.uniform(0.1, 4, 4)
            if len(boxes):
                true = np.array(reference.distances_to_sides(cell, boxes[rng.integers(len(boxes))]))
                prediction = (true / stride).clip(0) * rng.uniform(0.7, 1.4, 4) + 0.01
            out.append(prediction)
    return np.array(out).astype(np.float32).astype(np.float64)


@settings(max_examples=150, deadline=None)
@given(
    scene=scenes(inside=False),
    seed=st.integers(0, 2**31),
    kind=st.sampled_from(["giou", "iou", "linear_iou"]),
    threshold=st.sampled_from([0.05, 0.2, 0.6]),
    topk=st.sampled_from([1, 2, 5, 9, 40]),
    clamp=st.booleans(),
)
def test_batches_match_the_reference(scene, seed, kind, threshold, topk, clamp):
    prediction = _predictions_near_the_truth(scene, np.random.default_rng(seed))
    costs = []

    def cost(pred, target):
        costs.append(single_box_loss(pred, target, kind))
        return costs[-1]

    expected: Counter[tuple[int, int]] = Counter()
    per_image = len(reference.cells(scene.levels))
    for i, (boxes, classes) in enumerate(zip(scene.boxes, scene.classes)):
        first = i * per_image
        found = reference.more_positives(
            scene.levels,
            boxes,
            classes,
            scene.params,
            prediction[first : first + per_image],
            cost,
            threshold,
            topk,
            scene.image_sizes[i] if clamp else None,
        )
        expected.update((first + m, cls) for m, cls in found)
    # float32 must not have to tell two costs apart that differ in the seventh digit, and a pair
    # of nearly empty boxes has no meaningful cost at all.
    ranked = np.sort(np.array([*costs, threshold]))
    gaps = np.diff(ranked)
    assume((gaps[gaps > 0] > 1e-5).all())
    assert _more_positives(scene, prediction, threshold, topk, kind, clamp) == expected


def _scene(boxes: list[list[float]], image: tuple[int, int] = (32, 32)) -> Scene:
    return Scene(
        pyramid(*image, (4,)), ONE_LEVEL, [image], [np.array(boxes)], [np.zeros(len(boxes), int)]
    )


def _exact_prediction(scene: Scene, box: list[float]) -> np.ndarray:
    cells = reference.cells(scene.levels)
    return np.array([reference.distances_to_sides(c, box) for c in cells]).clip(0) / 4


def test_all_nine_cells_of_a_well_predicted_box_are_positive():
    box = [6.0, 6.0, 26.0, 26.0]
    scene = _scene([box])
    got = _more_positives(scene, _exact_prediction(scene, box), 0.2, 10)
    assert sorted(m for m, _ in got) == [8 * i + j for i in (3, 4, 5) for j in (3, 4, 5)]


def test_cost_must_be_below_the_topk_th_smallest():
    box = [6.0, 6.0, 26.0, 26.0]
    scene = _scene([box])
    rng = np.random.default_rng(2)
    prediction = _exact_prediction(scene, box) * rng.uniform(0.9, 1.1, (64, 4))
    for topk in (2, 5, 9):
        assert sum(_more_positives(scene, prediction, 0.6, topk).values()) == topk - 1


def test_cells_at_other_levels_are_candidates_but_their_centre_is_not_free():
    levels = pyramid(64, 64, (8, 16))
    params = Params([[0, 80], [80, 160]], 0.8, 4.0)
    box = [4.0, 4.0, 60.0, 60.0]
    scene = Scene(levels, params, [(64, 64)], [np.array([box])], [np.zeros(1, int)])
    cells = reference.cells(levels)
    good = np.array(
        [np.array(reference.distances_to_sides(c, box)) / levels[c.level].stride for c in cells]
    ).clip(0)
    bad = np.full_like(good, 0.01)
    assert sum(_more_positives(scene, good, 0.2, 100).values()) == 18
    assert sum(_more_positives(scene, bad, 0.2, 100).values()) == 1


def test_centre_cell_outside_a_tiny_box_is_no_candidate():
    scene = _scene([[4.0, 4.0, 5.0, 5.0]])  # the cell's location is (6, 6)
    assert not _more_positives(scene, np.full((64, 4), 0.1), 0.6, 9)


def test_centre_cell_on_the_side_of_a_box_is_a_candidate():
    scene = _scene([[4.0, 4.0, 6.0, 6.0]])
    assert _more_positives(scene, np.full((64, 4), 9.0), 0.2, 9) == Counter({(9, 0): 1})


@pytest.mark.parametrize("clamp", [True, False])
def test_centre_outside_the_grid_does_not_reach_a_far_cell(clamp):
    scene = _scene([[20.0, 8.0, 60.0, 24.0]])  # centre (40, 16), the grid ends at 32
    got = _more_positives(scene, np.full((64, 4), 0.01), 0.2, 9, clamp=clamp)
    # Moved to (31, 16) the centre is in the last column; left outside, its cell does not exist.
    assert got == (Counter({(4 * 8 + 7, 0): 1}) if clamp else Counter())


def test_no_boxes_give_no_positives():
    scene = Scene(
        pyramid(32, 32, (4,)), ONE_LEVEL, [(32, 32)], [np.zeros((0, 4))], [np.zeros(0, int)]
    )
    assert not _more_positives(scene, np.ones((64, 4)), 0.2, 9)


def test_costs_leave_no_gradient():
    scene = _scene([[6.0, 6.0, 26.0, 26.0]])
    grid = make_grid([(8, 8)], [4])
    params = TargetParams(soi=ONE_LEVEL.soi, delta=ONE_LEVEL.delta, min_radius=4.0)
    boxes = [torch.tensor(b, dtype=torch.float32) for b in scene.boxes]
    batch = gather_boxes(grid, boxes, [torch.tensor(c) for c in scene.classes], params)
    prediction = torch.ones(64, 4, requires_grad=True)
    index, _ = more_positives(grid, batch, prediction, threshold=0.9, topk=9)
    assert index.numel()
    assert not index.requires_grad
    assert prediction.grad is None
