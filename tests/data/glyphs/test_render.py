from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.data.glyphs import render
from centernet2.data.glyphs.characters import CHARACTERS
from centernet2.data.glyphs.grounds import _TEXTURES, draw_ground, random_colour, smooth_noise
from centernet2.data.glyphs.render import (
    MIN_VISIBLE_PIXELS,
    MIN_VISIBLE_SHARE,
    _Canvas,
    _Sprite,
    render_scene,
)


def scene(seed, characters="★♥♞☎✈☂⚓♻", size=(160, 200), objects=(8, 90)):
    return render_scene(np.random.default_rng(seed), characters, size, objects)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_masks_are_disjoint_and_large_enough(seed, count):
    result = scene(seed, "★♥♞☎✈☂⚓♻☯&"[: min(count, 10)] * 3)
    assert result.image.dtype == np.uint8
    height, width, channels = result.image.shape
    assert 160 <= height <= 200
    assert 160 <= width <= 200
    assert channels == 3
    covered = np.zeros((height, width), dtype=int)
    for mask in result.masks.values():
        assert mask.shape == covered.shape
        assert mask.sum() >= MIN_VISIBLE_PIXELS
        covered += mask
    assert covered.max() <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(CHARACTERS), st.integers(8, 51))
def test_the_first_object_always_finds_room(seed, character, size):
    # 51 pixels: settings hold the least size to 0.8 of the least side.
    result = scene(seed, character, size=(64, 400), objects=(size, 300))
    assert list(result.masks) == [0]


def test_a_scene_follows_from_its_generator():
    first, again, other = scene(3), scene(3), scene(4)
    assert (first.image == again.image).all()
    assert first.masks.keys() == again.masks.keys()
    assert all((first.masks[i] == again.masks[i]).all() for i in first.masks)
    assert first.image.shape != other.image.shape or (first.image != other.image).any()


@pytest.mark.parametrize("seed", range(12))
def test_objects_are_exactly_where_their_masks_are(seed, monkeypatch):
    grey = np.float32(128)
    monkeypatch.setattr(render, "draw_ground", lambda _, h, w: np.full((h, w, 3), grey))
    monkeypatch.setattr(render, "_cast_shadow", lambda *_: None)
    monkeypatch.setattr(render, "_expose", lambda _, pixels: pixels)
    result = scene(seed, "♥★■", objects=(30, 90))  # shapes without hairlines
    painted = (result.image != grey).any(axis=2)
    owned = np.any(list(result.masks.values()), axis=0)
    assert painted[owned].mean() > 0.99  # a mottled fill may happen to be grey somewhere
    # Beyond the masks there is no more than their antialiased edge, and the tips of stars.
    near = cv2.dilate(owned.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    assert painted[~near].sum() < 10


@pytest.mark.parametrize("seed", range(6))
def test_objects_stand_out_from_what_is_around(seed):
    rng = np.random.default_rng(seed)
    around = rng.uniform(0, 255, 3)
    colours = [render._contrasting_colour(rng, around) for _ in range(50)]
    distances = np.linalg.norm(np.subtract(colours, around), axis=1)
    assert distances.min() > 30
    assert distances.max() - distances.min() > 60  # strongly at times, faintly at others


def test_sizes_are_kept():
    for seed in range(10):
        result = scene(seed, "■", size=(400, 400), objects=(100, 100))
        (mask,) = result.masks.values()
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        inside = rows[0] > 0 and columns[0] > 0 and rows[-1] < 399 and columns[-1] < 399
        longest = max(np.ptp(rows), np.ptp(columns)) + 1
        # A rotated, sheared square with a rim is larger than its side; a cut one smaller.
        assert longest <= 185
        assert longest >= 90 or not inside


def rectangle(height, width):
    return _Sprite(np.ones((height, width), np.float32), np.full((height, width, 3), 9.0))


def test_a_canvas_keeps_account_of_what_is_visible():
    canvas = _Canvas(np.zeros((40, 40, 3), dtype=np.float32))
    canvas.paint(0, rectangle(20, 20), 0, 0)
    canvas.paint(1, rectangle(20, 20), 10, 10)
    canvas.paint(2, rectangle(20, 20), 30, 30)  # three quarters of it lie outside
    assert canvas.visible == {0: 300, 1: 400, 2: 100}
    assert canvas.areas == {0: 400, 1: 400, 2: 400}
    owners, pixels = np.unique(canvas.owner, return_counts=True)
    assert dict(zip(owners.tolist(), pixels.tolist())) == {-1: 800, 0: 300, 1: 400, 2: 100}
    assert (canvas.pixels[canvas.owner >= 0] == 9).all()
    assert (canvas.pixels[canvas.owner < 0] == 0).all()


def test_an_object_may_not_hide_another():
    canvas = _Canvas(np.zeros((40, 40, 3), dtype=np.float32))
    canvas.paint(0, rectangle(10, 10), 0, 0)
    cover = np.ones((10, 10), dtype=bool)
    allowed = [left for left in range(11) if canvas.has_room(cover, 0, left)]
    assert allowed == list(range(int(10 * MIN_VISIBLE_SHARE), 11))


def test_nor_lie_outside_the_image():
    canvas = _Canvas(np.zeros((40, 40, 3), dtype=np.float32))
    cover = np.ones((10, 10), dtype=bool)
    assert canvas.has_room(cover, 0, -7)
    assert not canvas.has_room(cover, 0, -8)
    assert not canvas.has_room(cover, 0, 60)
    assert not canvas.has_room(np.ones((3, 5), dtype=bool), 0, 0)  # 15 pixels


@pytest.mark.parametrize("texture", _TEXTURES, ids=lambda texture: texture.__name__)
def test_textures_fill_any_canvas(texture):
    for height, width in ((64, 64), (97, 311)):
        pixels = texture(np.random.default_rng(0), height, width)
        assert pixels.shape == (height, width, 3)
        assert np.isfinite(pixels).all()
        assert pixels.std() > 1


def test_grounds_differ_and_stay_in_range():
    grounds = [draw_ground(np.random.default_rng(seed), 64, 80) for seed in range(30)]
    for ground in grounds:
        assert ground.shape == (64, 80, 3)
        assert ground.dtype == np.float32
        assert ground.min() >= 0
        assert ground.max() <= 255
    assert np.std([ground.mean() for ground in grounds]) > 10


def test_smooth_noise_is_smooth():
    noise = smooth_noise(np.random.default_rng(0), 100, 120, cells=4)
    assert noise.shape == (100, 120)
    assert np.abs(np.diff(noise, axis=0)).max() < 0.2
    assert smooth_noise(np.random.default_rng(0), 10, 12, 4, channels=3).shape == (10, 12, 3)


def test_colours_are_spread():
    rng = np.random.default_rng(0)
    colours = np.stack([random_colour(rng) for _ in range(300)])
    assert colours.min() >= 0
    assert colours.max() <= 255
    assert (colours.std(axis=0) > 40).all()
