"""Images as the network sees them: of their own size or fitted into a square, centred on black."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

__all__ = ["View", "make_view", "margins", "to_image"]


class View(NamedTuple):
    """An image as it is shown to the network.

    Attributes:
        pixels: ``(3, IH, IW)`` floats from 0 to 255; black where the image does not reach.
        center: (x, y) of the resized image that lies in the middle of it.
        step: pixels of the resized image per pixel of the view.
        scale: factor of the resizing before, which results are divided by.
    """

    pixels: torch.Tensor
    center: tuple[float, float]
    step: float
    scale: float


def make_view(image: torch.Tensor, scale: float, multiple: int, fixed_size: int = 0) -> View:
    """Resize an image and put it into one of a size that the network takes.

    Args:
        image: ``(3, H, W)`` floats from 0 to 255.
        scale: factor; sizes are truncated. Values are rounded, as those of 8-bit images are.
        multiple: without ``fixed_size`` the image keeps its (resized) size, with
            :func:`margins` around it.
        fixed_size: side of the view, into which the unscaled image fits; ``scale`` zooms.
    """
    original = image.shape[-2:]
    height, width = (max(1, int(n * scale)) for n in original)
    if (height, width) != tuple(original):
        image = F.interpolate(image[None], (height, width), mode="bilinear")[0].round()
    if fixed_size:
        step = max(original) / fixed_size
        center = (width / 2, height / 2)
        return View(_window(image, center, step, fixed_size), center, step, scale)
    padding = (*margins(width, multiple), *margins(height, multiple))
    return View(F.pad(image, padding), (width // 2, height // 2), 1.0, scale)


def margins(length: int, multiple: int) -> tuple[int, int]:
    """Black before and behind a side of an image, up to the next multiple that is greater.

    Returns:
        Pixels: a side of 512 becomes one of 544 with 32, and 16 are added at either end.
    """
    full = (length // multiple + 1) * multiple
    before = full // 2 - length // 2
    return before, full - length - before


def _window(
    image: torch.Tensor, center: tuple[float, float], step: float, size: int
) -> torch.Tensor:
    """A square of pixels ``step`` apart around a point, bilinear, black outside of the image.

    Whole coordinates are pixels, so the square's middle is not between its two middle pixels.
    """
    at = (torch.arange(size, device=image.device, dtype=torch.float64) - size / 2) * step
    places = [
        (2 * (at + middle) + 1) / length - 1
        for middle, length in zip(center, (image.shape[2], image.shape[1]))
    ]
    y, x = torch.meshgrid(places[1], places[0], indexing="ij")
    grid = torch.stack([x, y], dim=2).to(image.dtype)
    return F.grid_sample(image[None], grid[None], align_corners=False)[0].round()


def to_image(points: torch.Tensor, view: View, output_size: tuple[int, int]) -> torch.Tensor:
    """Bring points from cells of the network's maps to pixels of the image.

    Args:
        points: ``(..., 2)`` of x, y.
        view: how the image was shown.
        output_size: (height, width) of the maps.
    """
    height, width = output_size
    middle = points.new_tensor([width / 2, height / 2])
    cell = view.step * view.pixels.shape[-1] / width
    return ((points - middle) * cell + points.new_tensor(view.center)) / view.scale
