"""Text on coloured plates: what fits, where it goes, and its pixels."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from centernet2.inference.colors import Color, contrasting

__all__ = ["Plate", "fit_plate", "paste", "place_plates"]

Plate = np.ndarray  # (h, w, 3) uint8, RGB

MIN_FONT_SIZE = 8
_MOST_COVERED = 10  # 1 / part of a plate's area that may lie over other plates


@functools.lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    # matplotlib ships DejaVu: the same letters on every machine, and far more than ASCII.
    ttf = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    return ImageFont.truetype(str(ttf), size)


def _size(text: str, font_size: int) -> tuple[int, int, int]:
    """Width and height of the plate of ``text``, and the margin inside it, in pixels."""
    font = _font(font_size)
    ascent, descent = font.getmetrics()
    margin = max(1, round(font_size * 0.2))
    return round(font.getlength(text)) + 2 * margin, ascent + descent + margin // 2, margin


@functools.lru_cache(maxsize=512)
def _render(text: str, font_size: int, color: Color) -> Plate:
    width, height, margin = _size(text, font_size)
    plate = Image.new("RGB", (width, height), color)
    draw = ImageDraw.Draw(plate)
    draw.text((margin, margin // 4), text, fill=contrasting(color), font=_font(font_size))
    return np.asarray(plate)


def _shortened(text: str) -> list[str]:
    """``text``, then ever shorter versions; the last word (the score) is kept longest."""
    name, _, score = text.rpartition(" ")
    if not name:
        name, score = text, ""
    shorter = [f"{name[:n]}… {score}".strip() for n in range(len(name) - 1, 0, -1)]
    return [text, *shorter, *([score] if score else [])]


def fit_plate(text: str, font_size: int, color: Color, room: tuple[int, int]) -> Plate | None:
    """Draw ``text`` on a plate that fits into ``room``.

    A text that is too wide is set smaller (down to 8 pixels), then shortened ("pedest… 97%").

    Args:
        text: one line; line breaks become spaces.
        font_size: wished size of the letters in pixels.
        color: of the plate; the text is black or white.
        room: height and width that the plate must fit into, in pixels.

    Returns:
        ``(h, w, 3)`` uint8 RGB, or None where not even the last word fits or ``text`` is empty.
    """
    text = " ".join(text.split())
    if not text:
        return None
    for size in sorted({font_size, (font_size + MIN_FONT_SIZE) // 2, MIN_FONT_SIZE}, reverse=True):
        width, height, _ = _size(text, size)
        if height <= room[0] and width <= room[1]:
            return _render(text, size, color)
    for candidate in _shortened(text):
        width, height, _ = _size(candidate, MIN_FONT_SIZE)
        if height <= room[0] and width <= room[1]:
            return _render(candidate, MIN_FONT_SIZE, color)
    return None


def place_plates(
    boxes: npt.NDArray[np.floating],
    sizes: Sequence[tuple[int, int]],
    image_size: tuple[int, int],
) -> list[tuple[int, int] | None]:
    """Choose where the plate of each box goes: inside the image and off the other plates.

    A plate sits on the upper edge of its box, else inside or below the box, at its left or right
    end; of these it takes the first that covers no earlier plate, else the one that covers least.

    Args:
        boxes: ``(N, 4)`` x0, y0, x1, y1 in pixels, anywhere; the first has the first choice.
        sizes: height and width of each plate, none larger than the image.
        image_size: height and width of the image.

    Returns:
        Top and left of each plate, in pixels; None where it would cover more of other
        plates than a tenth of its own area, wherever it is put.
    """
    height, width = image_size
    placed = np.zeros((0, 4), dtype=np.int64)  # top, left, bottom, right
    chosen: list[tuple[int, int] | None] = []
    for box, (h, w) in zip(np.asarray(boxes).reshape(-1, 4), sizes):
        limits = (width, height, width, height)
        x0, y0, x1, y1 = (round(min(max(float(v), 0), m)) for v, m in zip(box, limits))
        wishes = [(y0 - h, x0), (y0, x0), (y1, x0), (y1 - h, x0)]
        wishes += [(top, x1 - w) for top, _ in wishes]
        spots = np.array(
            [(min(max(t, 0), height - h), min(max(x, 0), width - w)) for t, x in wishes]
        )
        rects = np.concatenate([spots, spots + (h, w)], axis=1)
        over = np.minimum(rects[:, None, 2:], placed[None, :, 2:])
        over = over - np.maximum(rects[:, None, :2], placed[None, :, :2])
        covered = over.clip(min=0).prod(axis=2).sum(axis=1)
        best = int(covered.argmin())
        if covered[best] * _MOST_COVERED > h * w:
            chosen.append(None)
            continue
        placed = np.concatenate([placed, rects[[best]]])
        chosen.append((int(spots[best, 0]), int(spots[best, 1])))
    return chosen


def paste(image: npt.NDArray[np.uint8], plate: Plate, top: int, left: int) -> None:
    """Put a plate into ``image`` (H, W, 3), in place."""
    height, width = plate.shape[:2]
    image[top : top + height, left : left + width] = plate
