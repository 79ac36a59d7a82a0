"""Images as the network of keypoint triplets sees them: resized, on black, of sizes it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

__all__ = ["View", "pad_batch", "resized_view"]


class View(NamedTuple):
    """A resized image, centred on black.

    Attributes:
        pixels: ``(3, IH, IW)``; IH and IW are one less than a multiple of the network's.
        scale: factor of the resizing.
        size: (height, width) of the resized image in it.
        top, left: pixels of black above and left of that.
    """

    pixels: torch.Tensor
    scale: float
    size: tuple[int, int]
    top: int
    left: int


def resized_view(
    image: torch.Tensor, scale: float, multiple: int, *, lose_last_row: bool = True
) -> View:
    """Resize an image and pad it as the published test does.

    Args:
        image: ``(3, H, W)`` floats from 0 to 255.
        scale: factor; sizes are truncated. The result is rounded to whole numbers, as resized 8-bit
            images are.
        multiple: a power of two.
        lose_last_row: leave the last row black where the height is already one less than a
            multiple, and the last column alike; the published window is a pixel short there.
    """
    height, width = (max(1, int(n * scale)) for n in image.shape[-2:])
    if (height, width) != tuple(image.shape[-2:]):
        image = F.interpolate(image[None], (height, width), mode="bilinear")[0].round()
    full = height | (multiple - 1), width | (multiple - 1)
    top, left = full[0] // 2 - height // 2, full[1] // 2 - width // 2
    padding = (left, full[1] - width - left, top, full[0] - height - top)
    pixels = F.pad(image, padding)
    if lose_last_row and height == full[0]:
        pixels[:, -1] = 0
    if lose_last_row and width == full[1]:
        pixels[:, :, -1] = 0
    return View(pixels, scale, (height, width), top, left)


def pad_batch(images: Sequence[torch.Tensor], multiple: int) -> torch.Tensor:
    """Put images at the top left of black ones of a common size, for training.

    Args:
        images: ``(3, H, W)`` each, of any sizes.
        multiple: a power of two. A side that is no multiple becomes one less than the next, such as
            the 511 pixels of the published training.

    Returns:
        ``(N, 3, IH, IW)``.
    """
    sides = [max(image.shape[axis] for image in images) for axis in (-2, -1)]
    height, width = (side if side % multiple == 0 else side | (multiple - 1) for side in sides)
    batch = images[0].new_zeros(len(images), images[0].shape[0], height, width)
    for place, image in zip(batch, images):
        place[:, : image.shape[1], : image.shape[2]] = image
    return batch
