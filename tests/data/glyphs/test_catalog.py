from __future__ import annotations

import unicodedata

import pytest

from centernet2.data.glyphs.catalog import categories, category_names
from centernet2.data.glyphs.characters import CHARACTERS
from centernet2.data.glyphs.faces import faces_of, ink, ink_extent
from centernet2.data.glyphs.variants import MAX_CATEGORIES


def test_there_are_1203_distinct_categories():
    catalogue = categories(MAX_CATEGORIES)
    assert [category.id for category in catalogue] == list(range(1, 1204))
    assert len({category.name for category in catalogue}) == 1203
    assert len({category.character for category in catalogue}) == 1203


def test_fewer_categories_are_the_first_ones():
    assert categories(80) == categories(MAX_CATEGORIES)[:80]
    assert category_names(3) == ["black star", "black heart suit", "black chess knight"]


@pytest.mark.parametrize("count", [0, -1, 1204])
def test_impossible_numbers_are_refused(count):
    with pytest.raises(ValueError, match=r"1 to 1,203 categories"):
        categories(count)


def test_every_glyph_is_drawn_by_every_face_that_claims_it():
    for character in CHARACTERS:
        name = unicodedata.name(character)
        assert faces_of(character), name
        for face in faces_of(character):
            pixels = ink(face, character, 48)
            assert (pixels > 127).mean() > 0.1, (name, face)
            # Cropped to the ink: there is some along each side.
            sides = pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]
            assert all(side.any() for side in sides), (name, face)


def test_extent_is_the_longer_side_in_ems():
    pixels = ink("DejaVuSans", "W", 400)
    assert ink_extent("DejaVuSans", "W") == pytest.approx(max(pixels.shape) / 400, abs=0.02)


def test_a_blank_glyph_has_no_ink():
    assert ink("DejaVuSans", " ", 40).size == 0
    assert ink_extent("DejaVuSans", " ") == 0


def test_computer_modern_draws_ascii_letters_and_digits_only():
    assert "cmr10" in faces_of("A")
    assert "cmr10" not in faces_of("Ω")  # its code point holds another glyph there
