"""How large an image is as Detectron2 reads it: turned by its EXIF tag."""

from __future__ import annotations

from PIL import Image

__all__ = ["orientation", "upright_size"]

_TAG = 0x0112


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (as it is) to 8; 1 where the tag is absent or has another value."""
    value = image.getexif().get(_TAG, 1)
    return value if value in range(1, 9) else 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height in pixels once the image is turned."""
    width, height = image.size
    return (height, width) if orientation(image) >= 5 else (width, height)
