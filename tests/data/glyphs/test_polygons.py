from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

from centernet2.data.glyphs.polygons import mask_to_polygons

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))


def rasterise(polygons, height, width):
    if not polygons:
        return np.zeros((height, width), dtype=bool)
    parts = coco_mask.frPyObjects([list(map(float, p)) for p in polygons], height, width)
    return coco_mask.decode(coco_mask.merge(parts)).astype(bool)


@settings(max_examples=300, deadline=None)
@given(masks)
def test_polygons_rasterise_to_the_mask_they_came_from(mask):
    assert (rasterise(mask_to_polygons(mask), *mask.shape) == mask).all()


@settings(max_examples=100, deadline=None)
@given(masks)
def test_so_they_do_after_a_flip(mask):
    width = mask.shape[1]
    flipped = [
        [width - value if place % 2 == 0 else value for place, value in enumerate(polygon)]
        for polygon in mask_to_polygons(mask)
    ]
    assert (rasterise(flipped, *mask.shape) == mask[:, ::-1]).all()


@settings(max_examples=100, deadline=None)
@given(masks, st.integers(2, 5))
def test_and_after_whole_enlargement(mask, factor):
    enlarged = [[factor * value for value in polygon] for polygon in mask_to_polygons(mask)]
    expected = np.kron(mask, np.ones((factor, factor), dtype=bool))
    assert (rasterise(enlarged, *expected.shape) == expected).all()


@settings(max_examples=100, deadline=None)
@given(masks)
def test_sides_run_along_pixel_edges_and_corners_are_true_ones(mask):
    for polygon in mask_to_polygons(mask):
        assert len(polygon) >= 8
        points = np.reshape(polygon, (-1, 2))
        assert (points >= 0).all()
        assert (points <= mask.shape[::-1]).all()


def test_a_rectangle_has_four_corners():
    mask = np.zeros((9, 9), dtype=bool)
    mask[2:5, 3:8] = True
    (polygon,) = mask_to_polygons(mask)
    assert {tuple(point) for point in np.reshape(polygon, (-1, 2))} == {
        (3, 2), (8, 2), (8, 5), (3, 5),
    }  # fmt: skip
    assert len(polygon) == 8


def test_a_hole_is_part_of_the_polygon_around_it():
    mask = np.ones((6, 6), dtype=bool)
    mask[2:4, 2:4] = False
    assert len(mask_to_polygons(mask)) == 1


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_every_part_has_its_own_polygon(parts):
    mask = np.zeros((4, 9), dtype=bool)
    mask[1:3, 0 : 3 * parts : 3] = True
    assert len(mask_to_polygons(mask)) == parts


def test_an_empty_mask_has_none():
    assert mask_to_polygons(np.zeros((3, 4), dtype=bool)) == []
