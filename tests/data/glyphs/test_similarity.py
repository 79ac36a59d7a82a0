from __future__ import annotations

import numpy as np
import pytest

from centernet2.data.glyphs.characters import CHARACTERS
from centernet2.data.glyphs.faces import faces_of, ink
from centernet2.data.glyphs.select import MAX_SIMILARITY, candidates, select
from centernet2.data.glyphs.similarity import descriptor, poses, similarity, upright


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("b", "d"),  # reflections of each other
        ("+", "×"),  # rotations of each other
        ("O", "o"),  # equal but for their size
        ("A", "Α"),  # Latin and Greek
    ],
)
def test_glyphs_that_augmentation_confuses_are_alike(first, second):
    assert similarity(first, second) > 0.95
    assert not {first, second} <= set(CHARACTERS)


def test_a_glyph_and_its_half_turn_are_not():
    # 6 and 9: scenes do not rotate that far.
    assert similarity("6", "9") < 0.95


def test_similarity_is_symmetric():
    assert similarity("★", "A") == pytest.approx(similarity("A", "★"))


def test_a_descriptor_ignores_size():
    small, large = ink("DejaVuSans", "R", 60), ink("DejaVuSans", "R", 240)
    assert descriptor(small) @ descriptor(large) > 0.99


def test_a_descriptor_follows_rotation():
    pixels = ink("DejaVuSans", "R", 120)
    turned = np.ascontiguousarray(np.rot90(pixels, -1))  # clockwise, as positive angles are
    assert descriptor(turned) @ descriptor(pixels, 90.0) > 0.97
    assert descriptor(turned) @ descriptor(pixels, -90.0) < 0.9


def _greatest_similarity(characters):
    shapes, turned = [upright(c) for c in characters], [poses(c) for c in characters]
    owner = np.repeat(np.arange(len(characters)), [len(pose) for pose in turned])
    everything = np.concatenate(turned)
    others = [(shape @ everything.T)[:, owner != i].max() for i, shape in enumerate(shapes)]
    return max(others)


def test_easy_categories_are_distinct():
    assert _greatest_similarity(CHARACTERS[:30]) <= MAX_SIMILARITY + 1e-4


@pytest.mark.slow
def test_a_sample_of_the_catalogue_is_distinct():
    sample = np.random.default_rng(0).choice(len(CHARACTERS), 200, replace=False)
    assert _greatest_similarity([CHARACTERS[i] for i in sample]) <= MAX_SIMILARITY + 1e-4


def test_the_catalogue_is_what_select_chooses():
    assert tuple(select(25)) == CHARACTERS[:25]


def test_every_candidate_is_drawn_by_some_face_or_left_out():
    drawn = [c for c in set(candidates()) if faces_of(c)]
    assert set(CHARACTERS) <= set(drawn)
