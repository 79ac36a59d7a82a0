"""Masks of an image's objects as bitmaps, in one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.structures import BitMasks, Instances, polygons_to_bitmask

__all__ = ["add_bitmaps"]


def add_bitmaps(instances: Instances, segmentations: Sequence[Any]) -> Instances:
    """Set ``gt_masks`` and drop objects without a pixel, as Detectron2 does, in less time.

    Args:
        instances: N objects.
        segmentations: of each a list of polygons x0, y0, x1, ..., or an array ``(H, W)`` of 0 and 1
            of the image's size.

    Returns:
        The objects that have pixels, with their masks.
    """
    height, width = instances.image_size
    masks = np.empty((len(segmentations), height, width), dtype=np.uint8)
    for place, segmentation in zip(masks, segmentations):
        if isinstance(segmentation, list):
            # pycocotools lays bitmaps out by columns; OpenCV turns them in a tenth of NumPy's time
            columns = polygons_to_bitmask(segmentation, height, width).T.view(np.uint8)
            cv2.transpose(np.ascontiguousarray(columns), dst=place)
        else:
            place[:] = segmentation
    instances.gt_masks = BitMasks(torch.from_numpy(masks.view(bool)))
    visible = [bool(mask.any()) for mask in masks]
    return instances if all(visible) else instances[torch.tensor(visible)]
