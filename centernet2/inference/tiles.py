"""Contact sheets: several pictures in one."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from centernet2.inference.plates import paste

__all__ = ["PAPER", "tile"]

Picture = npt.NDArray[np.uint8]  # (H, W, 3), RGB

PAPER = (245, 245, 245)


def tile(images: Sequence[Picture], columns: int, cell_width: int | None = None) -> Picture:
    """Lay pictures out in rows on light paper.

    Args:
        images: at least one ``(H, W, 3)`` uint8 RGB picture, of any sizes.
        columns: pictures in a row.
        cell_width: width that pictures are scaled to, in pixels; default: no scaling.

    Returns:
        ``(H, W, 3)`` uint8, RGB.

    Raises:
        ValueError: no images, or fewer than one column.
    """
    if not images or columns < 1:
        raise ValueError(f"tile needs images and columns, got {len(images)} and {columns}")
    if cell_width is not None:
        images = [_scaled(image, cell_width) for image in images]
    gap = max(2, max(image.shape[1] for image in images) // 100)
    rows = [images[i : i + columns] for i in range(0, len(images), columns)]
    widths = [max(row[c].shape[1] for row in rows if c < len(row)) for c in range(len(rows[0]))]
    heights = [max(image.shape[0] for image in row) for row in rows]
    sheet_size = (sum(heights) + gap * (len(rows) + 1), sum(widths) + gap * (len(widths) + 1), 3)
    sheet = np.full(sheet_size, PAPER, dtype=np.uint8)
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            top = sum(heights[:r]) + gap * (r + 1) + (heights[r] - image.shape[0]) // 2
            left = sum(widths[:c]) + gap * (c + 1) + (widths[c] - image.shape[1]) // 2
            paste(sheet, image, top, left)
    return sheet


def _scaled(image: Picture, width: int) -> Picture:
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    smaller = width < image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    scaled = cv2.resize(image, (width, height), interpolation=method)
    return scaled.astype(np.uint8, copy=False)
