from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.modeling.centernet import heatmap
from centernet2.modeling.centernet.box_batch import TargetParams
from centernet2.modeling.centernet.grid import Grid, make_grid
from centernet2.modeling.centernet.targets import CenterNetTargets, assign_targets

from . import reference
from .reference import Level, Params
from .scenes import NUM_CLASSES, Scene, pyramid, scenes

DEFAULT_SOI = [[0, 80], [64, 160], [128, 320], [256, 640], [512, 10000000]]
DEFAULT = Params(DEFAULT_SOI, 0.8, 4.0)


def _grid(levels: tuple[Level, ...]) -> Grid:
    return make_grid([(lv.height, lv.width) for lv in levels], [lv.stride for lv in levels])


def _assign(
    levels: tuple[Level, ...],
    params: Params,
    boxes: list[np.ndarray],
    classes: list[np.ndarray] | None,
    image_sizes: list[tuple[int, int]] | None = None,
) -> CenterNetTargets:
    return assign_targets(
        _grid(levels),
        [torch.tensor(b, dtype=torch.float32).reshape(-1, 4) for b in boxes],
        None if classes is None else [torch.tensor(c, dtype=torch.int64) for c in classes],
        NUM_CLASSES if classes is not None else 1,
        TargetParams(soi=params.soi, delta=params.delta, min_radius=params.min_radius),
        image_sizes,
    )


def _dense(got: CenterNetTargets, num_cells: int, num_classes: int) -> np.ndarray:
    """The peaks as a ``(B * M, C)`` map; each pair of cell and class occurs once."""
    cell, channel = got.peaks.cell.numpy(), got.peaks.channel.numpy()
    assert len(set(zip(cell, channel))) == len(cell)
    dense = np.zeros((num_cells, num_classes), dtype=np.float32)
    dense[cell, channel] = got.peaks.value.numpy()
    return dense


def _check(scene: Scene, class_specific: bool, clamp: bool) -> None:
    """Every target of the batch against the reference, image by image."""
    classes = scene.classes if class_specific else [np.zeros_like(c) for c in scene.classes]
    sizes = scene.image_sizes if clamp else None
    got = _assign(
        scene.levels, scene.params, scene.boxes, classes if class_specific else None, sizes
    )

    maps, weights = [], []
    positives: Counter[tuple[int, int]] = Counter()
    regression = {}
    for i, (boxes, labels) in enumerate(zip(scene.boxes, classes)):
        size = scene.image_sizes[i] if clamp else None
        labels_or_none = labels if class_specific else None
        maps.append(
            reference.heatmap(scene.levels, boxes, labels_or_none, NUM_CLASSES, scene.params, size)
        )
        weights.append(reference.heatmap(scene.levels, boxes, None, 1, scene.params, size)[:, 0])
        first = i * len(maps[0])
        found = reference.positives(scene.levels, boxes, labels, scene.params, size)
        positives.update((first + m, cls) for m, cls in found)
        found = reference.regression(scene.levels, boxes, scene.params, size)
        regression.update((first + m, candidates) for m, candidates in found.items())

    expected = np.concatenate(maps)
    _assert_same_heatmap(_dense(got, *expected.shape), expected)
    _assert_same_heatmap(got.heatmap.numpy(), np.concatenate(weights))
    assert Counter(zip(got.pos_index.tolist(), got.pos_class.tolist())) == positives

    assert len(set(got.reg_index.tolist())) == len(got.reg_index)
    assert sorted(got.reg_index.tolist()) == sorted(regression)
    weight = np.concatenate(weights)
    for m, target, w in zip(got.reg_index.tolist(), got.reg_target.numpy(), got.reg_weight):
        assert any(np.allclose(target, t, rtol=1e-5, atol=1e-5) for t in regression[m])
        _assert_same_heatmap(np.array([float(w)]), weight[[m]])


def _assert_same_heatmap(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.shape == expected.shape
    # A value that rounds to the other side of the floor is as right.
    at_floor = np.maximum(got, expected) < reference.HEATMAP_FLOOR * (1 + 1e-4)
    np.testing.assert_allclose(got[~at_floor], expected[~at_floor], rtol=2e-5, atol=0)
    assert ((got[at_floor] == 0) | (got[at_floor] >= reference.HEATMAP_FLOOR * (1 - 1e-4))).all()


@settings(max_examples=150, deadline=None)
@given(scene=scenes(inside=True), class_specific=st.booleans(), clamp=st.booleans())
def test_boxes_inside_the_image_match_the_reference(scene, class_specific, clamp):
    _check(scene, class_specific, clamp)


@settings(max_examples=150, deadline=None)
@given(scene=scenes(inside=False), class_specific=st.booleans(), clamp=st.booleans())
def test_boxes_that_stick_out_match_the_reference(scene, class_specific, clamp):
    _check(scene, class_specific, clamp)


@pytest.mark.parametrize("chunk", [1, 50, heatmap.MAX_CELLS_PER_CHUNK])
@pytest.mark.parametrize("class_specific", [True, False])
def test_published_pyramid_with_all_sizes_matches_the_reference(class_specific, chunk, monkeypatch):
    monkeypatch.setattr(heatmap, "MAX_CELLS_PER_CHUNK", chunk)
    rng = np.random.default_rng(11)
    sizes = [(240, 320), (256, 300)]
    boxes, classes = [], []
    for height, width in sizes:
        extent = np.exp(rng.uniform(np.log(2), np.log(400), (12, 2)))
        centre = rng.uniform(0, 1, (12, 2)) * [width, height]
        corners = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1)
        corners = corners.clip(0, [width, height, width, height])
        boxes.append(np.floor(corners * 4) / 4)
        classes.append(rng.integers(0, NUM_CLASSES, 12))
    levels = pyramid(256, 320, (8, 16, 32, 64, 128))
    _check(Scene(levels, DEFAULT, sizes, boxes, classes), class_specific, clamp=False)


@pytest.mark.parametrize("classes", [None, [[], []]])
def test_no_boxes_at_all(classes):
    levels = pyramid(32, 40, (8, 16))
    empty = np.zeros((0, 4))
    got = _assign(levels, DEFAULT._replace(soi=DEFAULT_SOI[:2]), [empty, empty], classes)
    cells = 2 * sum(lv.height * lv.width for lv in levels)
    assert got.heatmap.shape == (cells,)
    assert not got.heatmap.any()
    assert len(got.peaks.cell) == len(got.peaks.channel) == len(got.peaks.value) == 0
    assert got.pos_index.shape == got.pos_class.shape == got.reg_index.shape == (0,)
    assert got.pos_index.dtype == got.pos_class.dtype == got.reg_index.dtype == torch.int64
    assert got.reg_target.shape == (0, 4)
    assert got.reg_weight.shape == (0,)


def test_size_at_the_shared_end_of_two_ranges_belongs_to_both_levels():
    levels = pyramid(256, 256, (8, 16))
    params = DEFAULT._replace(soi=[[0, 80], [80, 160]])
    box = np.array([[80.0, 64.0, 176.0, 192.0]])  # 96 x 128: half diagonal 80
    got = _assign(levels, params, [box], None)
    assert got.pos_index.tolist() == [16 * 32 + 16, 32 * 32 + 8 * 16 + 8]


def test_peak_is_drawn_on_levels_that_do_not_learn_the_box():
    levels = pyramid(64, 64, (8, 16, 32))
    box = np.array([[18.0, 18.0, 30.0, 30.0]])  # centre (24, 24)
    got = _assign(levels, DEFAULT._replace(soi=DEFAULT_SOI[:3]), [box], None)
    peaks = [3 * 8 + 3, 64 + 1 * 4 + 1, 64 + 16 + 0]
    assert got.heatmap[peaks].tolist() == [1.0, 1.0, 1.0]
    assert got.pos_index.tolist() == peaks[:1]


def test_centre_on_a_cell_border_belongs_to_the_cell_that_starts_there():
    levels = pyramid(64, 64, (8,))
    box = np.array([[12.0, 28.0, 20.0, 36.0]])  # centre (16, 32)
    got = _assign(levels, DEFAULT._replace(soi=[[0, 80]]), [box], None)
    assert got.pos_index.tolist() == [4 * 8 + 2]


def test_centre_outside_the_grid_makes_no_other_cell_positive():
    levels = pyramid(64, 64, (8, 16))
    boxes = np.array([[60.0, 10.0, 80.0, 30.0], [-30.0, -30.0, 4.0, 4.0], [10.0, 60.0, 30.0, 90.0]])
    got = _assign(levels, DEFAULT._replace(soi=DEFAULT_SOI[:2]), [boxes], None)
    assert got.pos_index.numel() == 0
    assert not (got.heatmap == 1).any()


def test_centre_outside_the_image_is_moved_inside_when_its_size_is_given():
    levels = pyramid(64, 64, (8,))
    boxes = np.array([[40.0, 10.0, 80.0, 30.0], [-30.0, 30.0, 10.0, 60.0]])
    params = DEFAULT._replace(soi=[[0, 80]])
    got = _assign(levels, params, [boxes], None, [(64, 52)])
    # Centres (60, 20) and (-10, 45) become (51, 20) and (0, 45).
    assert got.pos_index.tolist() == [2 * 8 + 6, 5 * 8 + 0]
    assert got.heatmap[got.pos_index].tolist() == [1.0, 1.0]


def test_cell_on_the_side_of_a_box_learns_nothing():
    levels = pyramid(64, 64, (8,))
    params = DEFAULT._replace(soi=[[0, 80]])
    box = np.array([[20.0, 20.0, 40.0, 40.0]])  # locations 20, 28, 36: the first is on the side
    got = _assign(levels, params, [box], None)
    assert sorted(got.reg_index.tolist()) == [8 * i + j for i in (3, 4) for j in (3, 4)]


def test_same_centre_goes_to_the_first_box():
    levels = pyramid(64, 64, (8,))
    params = DEFAULT._replace(soi=[[0, 80]])
    boxes = np.array([[12.0, 12.0, 44.0, 44.0], [20.0, 20.0, 36.0, 36.0]])
    for order in ([0, 1], [1, 0]):
        got = _assign(levels, params, [boxes[order]], None)
        at_centre = got.reg_target[got.reg_index.tolist().index(3 * 8 + 3)]
        x1 = 28.0 - 8.0 * float(at_centre[0])
        assert x1 == boxes[order[0]][0]


def test_crowd_of_boxes_on_a_large_pyramid_keeps_to_its_memory():
    # A tensor of cells x boxes x 4 would take 18 GB here.
    rng = np.random.default_rng(0)
    top_left = rng.uniform(0, 1200, (1500, 2))
    boxes = np.concatenate([top_left, top_left + rng.uniform(1, 130, (1500, 2))], axis=1)
    levels = pyramid(1344, 1344, (4, 8, 16, 32, 64))
    got = _assign(levels, DEFAULT, [boxes], None)
    assert got.pos_index.numel() >= 1500
    assert got.reg_index.numel() > 0


def test_memory_grows_with_the_objects_and_not_with_the_classes():
    levels = pyramid(800, 1216, (8, 16, 32, 64, 128))
    rng = np.random.default_rng(0)
    centre = rng.uniform(0, 1, (200, 2)) * [1216, 800]
    extent = 5 + 500 * rng.uniform(0, 1, (200, 2)) ** 3
    boxes = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1)
    classes = rng.integers(0, 1203, 200)
    got = assign_targets(
        _grid(levels),
        [torch.tensor(boxes, dtype=torch.float32)],
        [torch.tensor(classes)],
        1203,
        TargetParams(soi=DEFAULT.soi, delta=DEFAULT.delta, min_radius=DEFAULT.min_radius),
    )
    assert len(got.peaks.cell) < len(got.heatmap) * 1203 / 100
    assert set(got.peaks.channel.tolist()) == set(classes.tolist())
