"""Masks in any of COCO's forms as run lengths."""

from __future__ import annotations

from typing import Any

from pycocotools import mask as mask_api

__all__ = ["encode_mask"]


def encode_mask(shape: Any, height: int, width: int) -> dict[str, Any]:
    """Encode polygons, or a list of run lengths; compressed run lengths stay as they are.

    Args:
        shape: "segmentation" of an annotation or a detection in COCO's format.
        height: of its image, in pixels.
        width: of its image, in pixels.
    """
    if isinstance(shape, dict) and isinstance(shape["counts"], (str, bytes)):
        return shape
    code: Any = mask_api.frPyObjects(shape, height, width)
    return mask_api.merge(code) if isinstance(code, list) else code
