"""Image files as pixel arrays: what Detectron2 reads, from JPEG files in less time."""

from __future__ import annotations

import io
import os
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from detectron2.data import detection_utils as utils
from detectron2.utils.file_io import PathManager
from PIL import Image, ImageOps
from torchvision.io import ImageReadMode, decode_jpeg

from centernet2.data.upright import orientation

__all__ = ["read_image"]


def read_image(file_name: str, image_format: str) -> npt.NDArray[Any]:
    """The pixels that ``detectron2.data.detection_utils.read_image`` gives, as an own array.

    But for images of 16 bits, which Detectron2 makes white.

    torchvision decodes JPEG files with the same library as Pillow and without the latter's copies.
    Other formats, rotated files, and files that torchvision refuses are read by Detectron2.

    Args:
        file_name: a path, or any address that Detectron2's ``PathManager`` knows.
        image_format: a Pillow mode, "BGR" or "YUV-BT.601".

    Returns:
        ``(H, W, C)``, writable and contiguous: uint8, or float for YUV.

    Raises:
        OSError: for a file that is absent, no image, or truncated.
    """
    local = PathManager.get_local_path(file_name)
    if os.path.exists(local) and not os.path.isfile(local):  # a device or a pipe might never end
        raise OSError(f"{file_name} is no regular file")
    if image_format in ("BGR", "RGB"):
        with open(local, "rb") as file:
            data = file.read()
        if _is_upright_jpeg(data):
            try:
                pixels = decode_jpeg(
                    torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB
                )
            except RuntimeError:
                pass  # broken: Pillow's error is an OSError, and names the place
            else:
                rgb = pixels.permute(1, 2, 0).contiguous().numpy()
                return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR) if image_format == "BGR" else rgb
        grey = _sixteen_bit_grey(data)
        if grey is not None:
            return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(utils.read_image(file_name, format=image_format), order="C")


def _sixteen_bit_grey(data: bytes) -> npt.NDArray[np.uint8] | None:
    """The upper 8 of 16 bits; Detectron2, by Pillow, clips all but the darkest to white."""
    with Image.open(io.BytesIO(data)) as image:
        if not image.mode.startswith("I;16"):
            return None
        return (np.asarray(ImageOps.exif_transpose(image)) >> 8).astype(np.uint8)


def _is_upright_jpeg(data: bytes) -> bool:
    try:
        image = Image.open(io.BytesIO(data))
        return image.format == "JPEG" and orientation(image) == 1
    except Exception:  # Pillow raises errors of many kinds on broken EXIF data
        return False
