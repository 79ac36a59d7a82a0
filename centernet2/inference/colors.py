"""Colours that stay the same: by class, or by object when there is one class."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt
import torch
from detectron2.structures import Boxes, pairwise_iou

__all__ = ["Color", "ObjectColors", "color_of", "contrasting"]

Color = tuple  # (red, green, blue), each 0-255

_GOLDEN_RATIO = 0.61803398875
# Two neighbouring numbers differ in hue; three rounds of lightness keep hues that come near
# each other again (after 8, 13, 21 numbers) apart.
_TONES = ((0.95, 1.0), (0.60, 1.0), (0.90, 0.72))
_SAME_OBJECT_IOU = 0.3


def color_of(number: int) -> Color:
    """Colour of a class or an object: depends on its number alone.

    Args:
        number: any integer >= 0.

    Returns:
        ``(red, green, blue)``, 0-255.
    """
    saturation, value = _TONES[number % len(_TONES)]
    rgb = colorsys.hsv_to_rgb((0.03 + number * _GOLDEN_RATIO) % 1.0, saturation, value)
    return tuple(round(255 * channel) for channel in rgb)


def contrasting(color: Color) -> Color:
    """Black or white, whichever reads better on ``color`` (WCAG relative luminance)."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(color) / 255
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)


class ObjectColors:
    """Numbers for objects such that one keeps its number from frame to frame of a video.

    A box takes the number of the box of the frame before that it overlaps most; each number is
    taken once; new objects get the lowest free number.
    """

    def __init__(self) -> None:
        self._boxes = np.zeros((0, 4), dtype=np.float32)
        self._numbers: list[int] = []

    def __call__(self, boxes: npt.NDArray[np.floating]) -> list[int]:
        """Number the objects of the next frame.

        Args:
            boxes: ``(N, 4)`` x0, y0, x1, y1 in pixels.

        Returns:
            N distinct numbers >= 0, for :func:`color_of`.
        """
        boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
        iou = pairwise_iou(Boxes(torch.from_numpy(boxes)), Boxes(torch.from_numpy(self._boxes)))
        numbers = [-1] * len(boxes)
        for flat in iou.flatten().argsort(descending=True).tolist():
            new, old = divmod(flat, len(self._numbers))
            if iou[new, old] < _SAME_OBJECT_IOU:
                break
            if numbers[new] < 0 and self._numbers[old] not in numbers:
                numbers[new] = self._numbers[old]
        free = (n for n in range(2 * len(boxes)) if n not in numbers)
        numbers = [n if n >= 0 else next(free) for n in numbers]
        self._boxes, self._numbers = boxes, numbers
        return numbers
