"""Exact polygons of masks: their outlines along the edges of pixels.

COCO's polygons are usually drawn by hand and miss the mask by a pixel or so. An outline that
follows pixel edges rasterises (``pycocotools``) to exactly the mask it came from. Holes, which
the format has no way to state, are joined to the outline by a cut of zero width.
"""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["mask_to_polygons"]


def mask_to_polygons(mask: np.ndarray) -> list[list[int]]:
    """Outline a binary mask, one polygon for each of its connected (8-neighbour) parts.

    Args:
        mask: bool or uint8 (H, W).

    Returns:
        COCO polygons ``[x0, y0, x1, y1, ...]`` in pixels; empty for an empty mask.
    """
    # Every pixel becomes a block of 2 x 2, so that the outline through the centres of border
    # pixels, which OpenCV gives, runs on either side of each true edge: halving and rounding up
    # puts it on the edge itself.
    doubled = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return []
    outlines = [_without_collinear((contour[:, 0, :] + 1) // 2) for contour in contours]
    polygons = []
    for index, (_, _, _, parent) in enumerate(hierarchy[0]):
        if parent < 0:
            holes = [outlines[i] for i in np.flatnonzero(hierarchy[0][:, 3] == index)]
            polygons.append(_join(outlines[index], holes).ravel().tolist())
    return polygons


def _without_collinear(points: np.ndarray) -> np.ndarray:
    """Drop repeated points and those in the middle of a straight run: (N, 2) to (M, 2)."""
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before = points - np.roll(points, 1, axis=0)
    after = np.roll(points, -1, axis=0) - points
    return points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def _join(outline: np.ndarray, holes: list[np.ndarray]) -> np.ndarray:
    """Splice holes into an outline: out along a cut, around the hole, and back."""
    for hole in holes:
        distances = np.abs(outline[:, None] - hole[None]).sum(axis=2)
        at, first = np.unravel_index(distances.argmin(), distances.shape)
        loop = np.roll(hole, -first, axis=0)
        outline = np.concatenate([outline[: at + 1], loop, loop[:1], outline[at:]])
    return outline
