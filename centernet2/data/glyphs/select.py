"""Choose the characters of the catalogue: ``python -m centernet2.data.glyphs.select``.

Goes through the characters of matplotlib's fonts, the most recognisable scripts and symbols
first, and keeps those that resemble no character kept before. It takes some minutes, and is
only needed to change the catalogue: its output is kept in ``characters.py``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import numpy as np

from centernet2.data.glyphs.faces import FACES, _coverage, faces_of, ink
from centernet2.data.glyphs.similarity import poses, upright

NUM_CATEGORIES = 1203
MAX_SIMILARITY = 0.857
# Long thin glyphs turn into lines when rotated, and pale ones are hard to segment.
MAX_ASPECT, MIN_INK, MIN_EXTENT = 2.6, 0.12, 30

# Pictures that anyone can name, for the variants of few categories.
_PICTURES = "★♥♞☎✈☂⚓♻☯&☀☁☃♣♠♛♜♫☢✂☠☺⚖⚙⚛☘✿❄♿♨☣☪✡✌✍✉⌛⌘⚒⚡❀✪✽➔⇧↩∞§@?€$%#Ω"
_LETTERS = "ABEFGHJKMPQRSTWYabdefghkmqrty23456789"
_PLAIN = "ΔΘΛΞΠΣΦΨαβγδεζθλμξπφψωЖЯЮЩЦДФЭбжф"
_SCRIPTS = (
    "BLACK ", "WHITE ", "HEAVY ", "LATIN CAPITAL LETTER", "LATIN SMALL LETTER",
    "GREEK CAPITAL LETTER", "GREEK SMALL LETTER", "CYRILLIC CAPITAL", "CYRILLIC SMALL",
    "HEBREW LETTER", "ARMENIAN", "GEORGIAN", "TIFINAGH", "NKO", "LAO", "ARABIC LETTER",
    "OGHAM", "LISU", "CANADIAN", "COPTIC", "OLD ITALIC", "DOMINO", "PLAYING CARD", "",
)  # fmt: skip
_LEFT_OUT = (
    "COMBINING", "BRAILLE", "BOX DRAWINGS", "MODIFIER", "SUPERSCRIPT", "SUBSCRIPT", "HEXAGRAM",
    "VARIATION", "BLOCK", "TETRAGRAM", "QUADRANT", "LOWER ", "UPPER ", "MATHEMATICAL", "LEFT HALF",
    "RIGHT HALF", "PARALLELOGRAM",
)  # fmt: skip
_CATEGORIES = {"Ll", "Lu", "Lo", "Lt", "Nd", "Nl", "No", "Po", "Sc", "Sm", "So"}


def candidates() -> Iterator[str]:
    """Characters that could be a category, the most recognisable first, some repeatedly."""
    yield from _PICTURES + _LETTERS + _PLAIN
    points = sorted(set().union(*(_coverage(face) for face in FACES)))
    usable = [chr(point) for point in points if _is_usable(chr(point))]
    for script in _SCRIPTS:
        yield from (c for c in usable if unicodedata.name(c).startswith(script))


def select(count: int, max_similarity: float = MAX_SIMILARITY) -> list[str]:
    """The first ``count`` candidates that are well drawn and unlike one another.

    Raises:
        ValueError: fewer than ``count`` characters are that distinct.
    """
    chosen: list[str] = []
    seen: set[str] = set()
    known_upright = np.zeros((0, 400), dtype=np.float32)
    known_poses = np.zeros((0, 400), dtype=np.float32)
    for character in candidates():
        if character in seen:
            continue
        seen.add(character)
        if not _is_well_drawn(character):
            continue
        shape, turned = upright(character), poses(character)
        if chosen:
            alike = max((shape @ known_poses.T).max(), (turned @ known_upright.T).max())
            if alike > max_similarity:
                continue
        chosen.append(character)
        known_upright = np.concatenate([known_upright, shape])
        known_poses = np.concatenate([known_poses, turned])
        if len(chosen) == count:
            return chosen
    raise ValueError(f"only {len(chosen)} of {count} glyphs are less alike than {max_similarity}")


def _is_usable(character: str) -> bool:
    name = unicodedata.name(character, "")
    compatible = unicodedata.decomposition(character).startswith("<")
    circled = unicodedata.decomposition(character).startswith("<circle>")
    return (
        bool(name)
        and not name.startswith(_LEFT_OUT)
        and unicodedata.category(character) in _CATEGORIES
        and (circled or not compatible)
    )


def _is_well_drawn(character: str) -> bool:
    if not faces_of(character):
        return False
    for face in faces_of(character):
        pixels = ink(face, character, 96)
        if pixels.size == 0 or max(pixels.shape) < MIN_EXTENT:
            return False
        if max(pixels.shape) > MAX_ASPECT * min(pixels.shape) or (pixels > 127).mean() < MIN_INK:
            return False
    return True


if __name__ == "__main__":
    for start in range(0, NUM_CATEGORIES, 16):
        if start == 0:
            points = [f"{ord(character):04X}" for character in select(NUM_CATEGORIES)]
        print("    " + " ".join(points[start : start + 16]))
