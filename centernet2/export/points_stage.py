"""Objects as points of one image, in operators that tracing can record for any image size.

:mod:`centernet2.modeling.points` does the same for batches, several views and joints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from detectron2.layers import shapes_to_tensor
from torch import nn

from centernet2.errors import UserError
from centernet2.export.padded import padded
from centernet2.export.second_stage import clip
from centernet2.modeling.points.detector import ObjectsAsPoints
from centernet2.modeling.points.targets import STRIDE
from centernet2.modeling.points.views import margins

__all__ = ["PointsStage"]


class PointsStage(nn.Module):
    """The canvas that an image is shown on, the last map's head, and its best peaks' boxes.

    Args:
        model: a trained one; its parameters are shared.

    Raises:
        UserError: the model looks for joints, or at more than one view of an image.
    """

    def __init__(self, model: ObjectsAsPoints) -> None:
        super().__init__()
        settings = model.inference
        cures = {
            "MODEL.KEYPOINT_ON True": model.num_joints > 0 and "set it to False",
            "MODEL.POINTS.TEST_MIRROR True": settings.mirror and "set it to False",
            f"MODEL.POINTS.TEST_SCALES {list(settings.scales)}": tuple(settings.scales) != (1.0,)
            and "set it to [1.0]",
            f"MODEL.POINTS.TEST_FIXED_SIZE {settings.fixed_size}": settings.fixed_size > 0
            and "set it to 0",
            "MODEL.POINTS.NMS True": settings.always_nms and "set it to False",
        }
        for key, cure in cures.items():
            if cure:
                raise UserError(
                    f"{key} cannot be exported (boxes of one view of an image can): {cure}"
                )
        self.head = model.head
        self.multiple = model.multiple
        self.num_classes = model.num_classes
        self.most = min(settings.top_k, settings.max_detections)
        self.score_threshold = model.score_threshold
        self.round_results, self.clip_boxes = model.round_results, model.clip_boxes

    def canvas(self, pixels: torch.Tensor) -> torch.Tensor:
        """Put an image in the middle of black.

        Args:
            pixels: ``(3, H, W)`` floats from 0 to 255.

        Returns:
            ``(3, IH, IW)``, both the next greater multiples of the model's.
        """
        height, width = pixels.shape[1], pixels.shape[2]
        return F.pad(pixels, (*margins(width, self.multiple), *margins(height, self.multiple)))

    def forward(
        self, features: dict[str, torch.Tensor], height: int, width: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Args:
            features: maps of stride 4 of one image's canvas, ``(1, C, IH / 4, IW / 4)`` by name.
            height, width: of the image.

        Returns:
            ``(N, 4)`` XYXY boxes in pixels of the image, clipped to it where the model clips,
            ``(N,)`` scores above 0 and ``(N,)`` int64 classes, best first.
        """
        maps = self.head(list(features.values())[-1], len(features) - 1)
        heat = maps.hm.sigmoid()
        heat = heat * (F.max_pool2d(heat, 3, stride=1, padding=1) == heat)
        cells, columns = heat.shape[2] * heat.shape[3], heat.shape[3]
        scores, index = padded(heat.flatten(), self.most).topk(self.most)
        classes = torch.div(index, cells, rounding_mode="trunc")
        cell = index - classes * cells
        row = torch.div(cell, columns, rounding_mode="trunc")
        corner = torch.stack([cell - row * columns, row], dim=1)
        center = corner + maps.reg[0].flatten(1).t()[cell]
        size = maps.wh[0].flatten(1).t()[cell]

        before = [margins(side, self.multiple)[0] for side in (width, height)]
        start = shapes_to_tensor(before).float()
        low = (center - size / 2) * STRIDE - start
        high = (center + size / 2) * STRIDE - start
        if self.round_results:
            low, scores = low.round(decimals=2), scores.round(decimals=2)
            high = low + (high - low).round(decimals=2)
        # The model fills up with cells that are no peaks, any of them, of score 0; -1 is no cell
        keep = ((scores > 0) & (scores >= self.score_threshold)).nonzero()[:, 0]
        boxes = torch.cat([low, high], dim=1)[keep]
        if self.clip_boxes:
            boxes = clip(boxes, shapes_to_tensor([width, height, width, height]).float())
        return boxes, scores[keep], classes[keep]
