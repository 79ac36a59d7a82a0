"""Images in the size that an exported model takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from detectron2.data import transforms as T

__all__ = ["fit_into", "fit_sides"]

Pixels = npt.NDArray[np.uint8]


def fit_sides(pixels: Pixels, sides: tuple[int, int]) -> Pixels:
    """Resize an image ``(H, W, 3)`` as Detectron2 does.

    Args:
        pixels: the image.
        sides: length of the shorter side, and most of the longer one; (0, 0): as it is.
    """
    resized: Pixels = (
        T.ResizeShortestEdge(sides[0], sides[1]).get_transform(pixels).apply_image(pixels)
    )
    return resized


def fit_into(
    pixels: Pixels, size: tuple[int, int], padding: Sequence[int]
) -> tuple[Pixels, tuple[int, int]]:
    """Resize an image ``(H, W, 3)`` to fit, and fill up below and to the right.

    Args:
        pixels: the image.
        size: height and width of the result.
        padding: colour to fill up with.

    Returns:
        The result, and the height and width of the image in it.
    """
    height, width = pixels.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    inner = max(round(height * scale), 1), max(round(width * scale), 1)
    filled = np.full((*size, 3), padding, dtype=np.uint8)
    resized = T.ResizeTransform(height, width, *inner).apply_image(pixels)
    filled[: inner[0], : inner[1]] = resized
    return filled, inner
