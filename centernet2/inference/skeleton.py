"""Joints of people and the limbs between them, drawn."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from detectron2.data.datasets.builtin_meta import (
    COCO_PERSON_KEYPOINT_NAMES,
    KEYPOINT_CONNECTION_RULES,
)

from centernet2.inference.colors import Color, contrasting

__all__ = ["draw_skeleton"]

Picture = npt.NDArray[np.uint8]  # (H, W, 3), RGB

# Joints of less are not shown: the unlabelled ones of a ground truth
_LEAST_SCORE = 0.05
# Of COCO's people, in Detectron2's colours: limbs as two joints and a colour
_LIMBS = [
    (COCO_PERSON_KEYPOINT_NAMES.index(a), COCO_PERSON_KEYPOINT_NAMES.index(b), color)
    for a, b, color in KEYPOINT_CONNECTION_RULES
]
_NOSE, _SHOULDERS, _HIPS = 0, (5, 6), (11, 12)
_SPINE_COLOR = (255, 0, 0)


def draw_skeleton(
    canvas: Picture, joints: npt.NDArray[np.floating], color: Color, line: int
) -> None:
    """Draw the joints of one person or thing, in place.

    COCO's 17 joints are joined by limbs in Detectron2's colours; others are dots.

    Args:
        canvas: ``(H, W, 3)`` uint8, RGB.
        joints: ``(J, 3)`` of x, y in pixels and score (or visibility); those of 0 are left out.
        color: of the dots, ``(red, green, blue)``.
        line: width of lines in pixels.
    """
    height, width = canvas.shape[:2]
    shown = np.isfinite(joints).all(axis=1) & (joints[:, 2] > _LEAST_SCORE)
    # OpenCV fails on numbers beyond its own; far outside, only the direction of a limb matters
    points = np.nan_to_num(joints[:, :2]).clip(-4 * width - 4 * height, 5 * width + 5 * height)
    if len(joints) == len(COCO_PERSON_KEYPOINT_NAMES):
        for a, b, limb in _LIMBS:
            if shown[a] and shown[b]:
                _line(canvas, points[a], points[b], limb, line)
        if shown[list(_SHOULDERS)].all():
            neck = points[list(_SHOULDERS)].mean(axis=0)
            if shown[_NOSE]:
                _line(canvas, points[_NOSE], neck, _SPINE_COLOR, line)
            if shown[list(_HIPS)].all():
                _line(canvas, neck, points[list(_HIPS)].mean(axis=0), _SPINE_COLOR, line)
    for x, y in points[shown].round().astype(int).tolist():
        cv2.circle(canvas, (x, y), line + 1, contrasting(color), -1, cv2.LINE_AA)
        cv2.circle(canvas, (x, y), line, color, -1, cv2.LINE_AA)


def _line(
    canvas: Picture,
    start: npt.NDArray[np.floating],
    end: npt.NDArray[np.floating],
    color: Color,
    line: int,
) -> None:
    first, second = ([round(float(v)) for v in point] for point in (start, end))
    cv2.line(canvas, first, second, color, line, cv2.LINE_AA)
