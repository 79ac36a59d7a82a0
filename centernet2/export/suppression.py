"""Non-maximum suppression as tracing can record it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torchvision.ops import nms

__all__ = ["best_boxes"]


def best_boxes(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    labels: torch.Tensor,
    num_classes: int,
    iou: float,
    most: int,
) -> torch.Tensor:
    """The boxes that no better one of their class overlaps.

    Classes are kept apart by moving their boxes to places of their own. Those lie on a square and
    not on a line: the coordinates are single precision here, and stay exact to 1/256 pixel with a
    thousand classes.

    Args:
        boxes: ``(N, 4)`` XYXY.
        scores: ``(N,)``.
        labels: ``(N,)`` int64, 0 to ``num_classes - 1``.
        num_classes: number of classes.
        iou: overlap above which the lower of two boxes goes.
        most: boxes to keep at most; below 0: all.

    Returns:
        ``(K,)`` indices, best first.
    """
    if num_classes > 1:
        columns = math.isqrt(num_classes - 1) + 1
        limits = torch.cat([boxes.flatten(), boxes.new_zeros(1)])  # there may be no boxes
        place = torch.stack([labels % columns, torch.div(labels, columns, rounding_mode="trunc")])
        shift = place.t() * (limits.amax() - limits.amin() + 1)
        boxes = boxes + torch.cat([shift, shift], dim=1)
    if torch.onnx.is_in_onnx_export():
        chosen: torch.Tensor = _OnnxNms.apply(boxes, scores, iou, most)
        return chosen
    keep = nms(boxes, scores, iou)
    return keep[:most] if most >= 0 else keep


class _OnnxNms(torch.autograd.Function):
    """ONNX's operator, which stops once it has enough boxes."""

    @staticmethod
    def forward(
        ctx: Any, boxes: torch.Tensor, scores: torch.Tensor, iou: float, most: int
    ) -> torch.Tensor:
        keep = nms(boxes, scores, iou)
        return keep[:most] if most >= 0 else keep

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, iou: float, most: int) -> Any:
        def constant(value: Any, kind: torch.dtype) -> Any:
            return g.op("Constant", value_t=torch.tensor(value, dtype=kind))

        first, both = constant([0], torch.int64), constant([0, 1], torch.int64)
        found = g.op(
            "NonMaxSuppression",
            g.op("Unsqueeze", boxes, first),
            g.op("Unsqueeze", scores, both),
            constant([most if most >= 0 else torch.iinfo(torch.int64).max], torch.int64),
            constant([iou], torch.float32),
        )  # (K, 3): image, class, box
        return g.op("Gather", found, constant(2, torch.int64), axis_i=1)
