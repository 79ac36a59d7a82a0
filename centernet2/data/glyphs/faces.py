"""The type faces that the glyphs are drawn with: TrueType files that come with matplotlib."""

from __future__ import annotations

import functools
from pathlib import Path

import matplotlib
import numpy as np
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
from PIL import Image, ImageDraw, ImageFont

__all__ = ["FACES", "faces_of", "ink", "ink_extent"]

# Upright faces only: an oblique one is close to the shear that scenes apply anyway, while the
# letters of a true italic are other shapes ("a" becomes the phonetic alpha).
FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "STIXGeneral",
    "STIXGeneralBol",
    "cmr10",
    "cmb10",
    "cmss10",
    "cmtt10",
)
# Computer Modern has an encoding of its own, which agrees with Unicode for these alone.
_COMPUTER_MODERN = frozenset(
    map(ord, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
)
_REFERENCE_SIZE = 128  # pixels per em at which extents are measured


@functools.cache
def _coverage(face: str) -> frozenset[int]:
    with TTFont(_path(face), lazy=True) as file:
        points = frozenset(file.getBestCmap())
    return points & _COMPUTER_MODERN if face.startswith("cm") else points


@functools.cache
def faces_of(character: str) -> tuple[str, ...]:
    """The faces that draw a character, in the order of :data:`FACES`; empty if none does."""
    return tuple(face for face in FACES if ord(character) in _coverage(face))


def ink(face: str, character: str, size: int) -> np.ndarray:
    """Draw one glyph, cropped to its ink.

    Args:
        face: one of :data:`FACES`.
        character: a single character.
        size: pixels per em.

    Returns:
        uint8 (H, W) coverage from 0 to 255; (0, 0) where the glyph is blank.
    """
    font = _font(face, size)
    left, top, right, bottom = font.getbbox(character)
    image = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    draw = ImageDraw.Draw(image)
    draw.text((1 - left, 1 - top), character, fill=255, font=font)
    pixels = np.asarray(image)
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if len(rows) == 0:
        return pixels[:0, :0]
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@functools.cache
def ink_extent(face: str, character: str) -> float:
    """The longer side of a glyph's ink, in ems (0 for a blank glyph)."""
    return max(ink(face, character, _REFERENCE_SIZE).shape) / _REFERENCE_SIZE


@functools.lru_cache(maxsize=256)
def _font(face: str, size: int) -> ImageFont.FreeTypeFont:
    # The basic layout engine is always built in; Raqm is optional and would make the pixels
    # depend on the installation.
    return ImageFont.truetype(_path(face), size, layout_engine=ImageFont.Layout.BASIC)


def _path(face: str) -> str:
    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{face}.ttf"))
