"""Detections and annotations of an image in COCO's format, drawn side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from detectron2.structures import Boxes, Instances
from pycocotools import mask as mask_api

from centernet2.errors import UserError
from centernet2.evaluation.report.masks import encode_mask
from centernet2.inference.drawing import draw_comparison
from centernet2.inference.images import enlarged
from centernet2.inference.inputs import read_image

__all__ = ["draw_case"]

Record = Mapping[str, Any]


def draw_case(
    path: Path,
    image: Record,
    detections: Sequence[Record],
    objects: Sequence[Record],
    names: Mapping[int, str],
) -> npt.NDArray[np.uint8]:
    """Draw what was found on an image beside what is there.

    Args:
        path: the image.
        image: its entry in the annotation file.
        detections: in COCO's format, with "score".
        objects: annotations in COCO's format. Masks are drawn where all objects have one, and all
            detections.
        names: of the categories, by id.

    Returns:
        ``(H, W, 3)`` uint8, RGB.

    Raises:
        UserError: the image cannot be read, or is not of the size that its entry tells.
    """
    picture = read_image(path)
    height, width = picture.shape[:2]
    if [image.get("height", height), image.get("width", width)] != [height, width]:
        raise UserError(
            f"{path}: {width} x {height} pixels, but the annotations say {image['width']} x "
            f"{image['height']}"
        )
    masks = all(record.get("segmentation") for record in [*detections, *objects])
    classes = {category: i for i, category in enumerate(sorted(names))}
    found = _instances(detections, (height, width), classes, masks)
    found.scores = torch.tensor([d["score"] for d in detections], dtype=torch.float32)
    truth = _instances(objects, (height, width), classes, masks)
    large, found = enlarged(picture, found)
    _, truth = enlarged(picture, truth)
    return draw_comparison(large, found, truth, [names[c] for c in sorted(names)])


def _instances(
    records: Sequence[Record], size: tuple[int, int], classes: Mapping[int, int], masks: bool
) -> Instances:
    boxes = torch.tensor([r["bbox"] for r in records], dtype=torch.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    result = Instances(size, pred_boxes=Boxes(boxes))
    result.pred_classes = torch.tensor([classes[r["category_id"]] for r in records]).long()
    if masks:
        codes = [encode_mask(r["segmentation"], *size) for r in records]
        decoded = mask_api.decode(codes) if codes else np.zeros((*size, 0), dtype=np.uint8)
        result.pred_masks = torch.from_numpy(decoded.transpose(2, 0, 1).astype(bool))
    return result
