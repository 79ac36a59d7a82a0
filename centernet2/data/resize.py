"""Detectron2's resizing, also for images that are far longer than wide."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.data.detection_utils import build_augmentation
from PIL import Image

__all__ = ["ShortestEdge", "detectron2_augmentation"]


class ShortestEdge(T.ResizeShortestEdge):
    """``ResizeShortestEdge`` that leaves at least a pixel of each side.

    Detectron2's rounds the width of 1 x 20,000 pixels, made 1,333 long, to 0.
    """

    def get_transform(self, image: npt.NDArray[Any]) -> T.Transform:
        """Draw a transform for an image of ``(H, W, ...)``."""
        transform = super().get_transform(image)
        if isinstance(transform, T.ResizeTransform) and 0 in (transform.new_h, transform.new_w):
            sides = max(transform.new_h, 1), max(transform.new_w, 1)
            return T.ResizeTransform(transform.h, transform.w, *sides, transform.interp)
        return transform


def detectron2_augmentation(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Detectron2's resizing and flipping of a config, in this order.

    Args:
        cfg: reads INPUT's sizes and RANDOM_FLIP.
        is_train: whether for training.
    """
    resize, *flip = build_augmentation(cfg, is_train)
    edges = resize.short_edge_length
    style = "range" if resize.is_range else "choice"
    return [ShortestEdge(edges, resize.max_size, style, Image.Resampling.BILINEAR), *flip]
