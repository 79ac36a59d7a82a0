"""Images in memory, of whatever kind, as RGB pixels."""

from __future__ import annotations

from typing import Union

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from centernet2.errors import UserError
from centernet2.inference.inputs import upright_rgb

__all__ = ["CHANNEL_ORDERS", "InMemoryImage", "rgb_pixels"]

Picture = npt.NDArray[np.uint8]  # (H, W, 3), RGB
InMemoryImage = Union[Image.Image, npt.NDArray[np.generic], torch.Tensor]

CHANNEL_ORDERS = ("RGB", "BGR")


def rgb_pixels(image: InMemoryImage, channel_order: str) -> Picture:
    """Bring an image to the form that everything here works on.

    Args:
        image: a Pillow image of any mode, turned upright as its EXIF data says; an array
            ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)``; or a tensor ``(H, W)``,
            ``(1, H, W)``, ``(3, H, W)`` or ``(4, H, W)``. Numbers are uint8, uint16 (the upper 8
            bits are taken) or floating, from 0 to 1. A fourth channel, transparency, is left out.
        channel_order: "RGB" or "BGR", of arrays and tensors.

    Returns:
        ``(H, W, 3)`` uint8, RGB.

    Raises:
        UserError: it is none of these.
    """
    if isinstance(image, Image.Image):
        return upright_rgb(image)
    if isinstance(image, torch.Tensor):
        pixels = image.detach().cpu().numpy()
        if pixels.ndim == 3:
            _check_channels(pixels.shape[0], image.shape, "tensor", "(3, H, W)")
            pixels = pixels.transpose(1, 2, 0)
    else:
        pixels = image
        if pixels.ndim == 3:
            _check_channels(pixels.shape[2], image.shape, "array", "(H, W, 3)")
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.size == 0:
        raise UserError(
            f"an image of shape {tuple(image.shape)} cannot be used: arrays are (H, W, 3), tensors "
            "(3, H, W), grey ones (H, W)"
        )
    pixels = _as_uint8(pixels[:, :, :3])
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    elif channel_order == "BGR":
        pixels = pixels[:, :, ::-1]
    return np.ascontiguousarray(pixels)


def _check_channels(channels: int, shape: tuple[int, ...], kind: str, wanted: str) -> None:
    if channels not in (1, 3, 4):
        raise UserError(
            f"an image {kind} of shape {tuple(shape)} has {channels} channels; it must be {wanted} "
            "(or with 1 or 4 channels in their place)"
        )


def _as_uint8(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels.view(np.uint8)
    if pixels.dtype == np.uint16:
        return (pixels.view(np.uint16) >> 8).astype(np.uint8)
    if np.issubdtype(pixels.dtype, np.floating):
        low, high = float(np.min(pixels)), float(np.max(pixels))
        if low >= 0 and high <= 1:  # also refuses NaN
            return (pixels.astype(np.float32) * 255).round().astype(np.uint8)
        raise UserError(
            f"an image of floating numbers from {low:g} to {high:g} cannot be used: they must be "
            "from 0 to 1, not normalised; or convert 0 to 255 to uint8"
        )
    raise UserError(f"an image of {pixels.dtype} cannot be used: convert it to uint8, 0 to 255")
