"""A small picture of what a finding is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageOps

from centernet2.data.doctor.boxes import LARGEST, is_number

__all__ = ["thumbnail"]

_SIDE = 240  # pixels of the longer side
_CONTEXT = 3  # how many times the object's longer side is shown
_LEAST = 1 / 4  # of the image's longer side is shown at least
_BOX, _OUTLINE = (255, 0, 60), (0, 200, 255)

Point = tuple[float, float]


def thumbnail(path: Path, annotation: dict[str, Any] | None) -> Image.Image:
    """An image, upright; with an annotation its surroundings, its box (red) and polygons (blue).

    Args:
        path: of the image; whatever Pillow raises is raised.
        annotation: a record of the list, whatever it holds.
    """
    with Image.open(path) as image:
        picture = ImageOps.exif_transpose(image).convert("RGB")
    box = _corners((annotation or {}).get("bbox"))
    polygons = _polygons((annotation or {}).get("segmentation"))
    points = [*box, *(point for polygon in polygons for point in polygon)]
    left, top, side = _window(picture.size, points)
    picture = picture.crop(
        (left, top, min(left + side, picture.width), min(top + side, picture.height))
    )
    scale = _SIDE / max(picture.size)
    picture = picture.resize([max(1, round(length * scale)) for length in picture.size])
    draw = ImageDraw.Draw(picture)
    for polygon in polygons:
        moved = [((x - left) * scale, (y - top) * scale) for x, y in polygon]
        draw.line([*moved, moved[0]], fill=_OUTLINE, width=1)
    if box:
        (x0, y0), (x1, y1) = (((x - left) * scale, (y - top) * scale) for x, y in box)
        draw.rectangle((x0, y0, x1, y1), outline=_BOX, width=2)
    return picture


def _window(size: tuple[int, int], points: list[Point]) -> tuple[int, int, int]:
    """Left, top and side in pixels of the square to show; all of the image without an object."""
    longer = max(size)
    inside = [(x, y) for x, y in points if 0 <= x <= size[0] and 0 <= y <= size[1]]
    if not inside:
        return 0, 0, longer
    low = [min(point[axis] for point in inside) for axis in (0, 1)]
    high = [max(point[axis] for point in inside) for axis in (0, 1)]
    extent = max(high[0] - low[0], high[1] - low[1])
    side = max(1, min(longer, round(max(extent * _CONTEXT, longer * _LEAST))))
    left, top = (
        round(min(max((low[axis] + high[axis] - side) / 2, 0), max(size[axis] - side, 0)))
        for axis in (0, 1)
    )
    return left, top, side


def _corners(box: Any) -> list[Point]:
    """Upper left and lower right corner; none where it cannot be drawn."""
    if type(box) is not list or len(box) != 4 or not all(map(_drawable, box)):
        return []
    x, y, w, h = box
    return [(min(x, x + w), min(y, y + h)), (max(x, x + w), max(y, y + h))]


def _polygons(segmentation: Any) -> list[list[Point]]:
    if type(segmentation) is not list:
        return []
    return [
        list(zip(part[::2], part[1::2]))
        for part in segmentation
        if type(part) is list and len(part) >= 4 and all(map(_drawable, part))
    ]


def _drawable(value: Any) -> bool:
    return is_number(value) and abs(value) < LARGEST
