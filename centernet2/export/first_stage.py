"""CenterNet's boxes of one image, in operators that tracing can record for any image size.

:func:`centernet2.modeling.centernet.decode.decode` is the same for batches. It looks at sizes and
numbers of candidates to save time, which a recorded graph could not repeat for another image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from centernet2.export.padded import padded
from centernet2.export.suppression import best_boxes
from centernet2.modeling.centernet.decode import box_corners
from centernet2.modeling.centernet.proposals import CenterNet

__all__ = ["FirstStage"]


class FirstStage(nn.Module):
    """The head, and its maps' best boxes.

    Args:
        generator: a trained one; its parameters are shared.
    """

    def __init__(self, generator: CenterNet) -> None:
        super().__init__()
        self.head = generator.centernet_head
        self.in_features = generator.in_features
        self.strides = generator.strides
        self.params = generator.decode_test
        self.num_classes = 1 if generator.only_proposal else generator.num_classes

    def forward(
        self, features: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Args:
            features: the pyramid of one image, ``(1, C, H_l, W_l)`` by name.

        Returns:
            ``(N, 4)`` XYXY boxes in pixels, not clipped to the image, ``(N,)`` scores and ``(N,)``
            int64 classes, best first.
        """
        outputs = self.head([features[name] for name in self.in_features])
        main = outputs.class_logits or outputs.agnostic_logits
        factors = outputs.agnostic_logits if outputs.class_logits else None
        parts = [
            self._candidates(
                heat[0].sigmoid(),
                factors[i][0].sigmoid() if factors else None,
                outputs.boxes[i][0],
                s,
            )
            for i, (heat, s) in enumerate(zip(main, self.strides))
        ]
        scores, boxes, classes = (torch.cat(levels) for levels in zip(*parts))
        most = self.params.post_nms_topk
        suppress = not (self.params.not_nms or self.params.center_nms)
        if not suppress:
            scores, best = padded(scores, most).topk(most)
            best = best.clamp(max=boxes.shape[0] - 1)
            boxes, classes = boxes[best], classes[best]
        found = (scores >= 0).nonzero()[:, 0]  # -1 marks "no candidate"
        boxes, scores, classes = boxes[found], scores[found], classes[found]
        if outputs.agnostic_logits:
            scores = scores.sqrt()
        if suppress:
            keep = best_boxes(
                boxes, scores, classes, self.num_classes, self.params.nms_thresh, most
            )
            boxes, scores, classes = boxes[keep], scores[keep], classes[keep]
        return boxes, scores, classes

    def _candidates(
        self,
        heat: torch.Tensor,
        agnostic: torch.Tensor | None,
        distances: torch.Tensor,
        stride: int,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The best of a level: ``(K,)`` scores, ``(K, 4)`` boxes, ``(K,)`` classes.

        Args:
            heat: ``(C, H, W)``.
            agnostic: ``(1, H, W)``.
            distances: ``(4, H, W)``.
            stride: in pixels.
        """
        if self.params.center_nms:
            heat = heat * (F.max_pool2d(heat, 3, stride=1, padding=1) == heat)
        score = heat if agnostic is None else heat * agnostic
        score = torch.where(heat > self.params.score_thresh, score, torch.full_like(score, -1.0))
        most = self.params.pre_nms_topk
        best, index = padded(score.flatten(1).t().flatten(), most).topk(most)
        cell = torch.div(index, self.num_classes, rounding_mode="trunc")
        width = distances.shape[2]
        row = torch.div(cell, width, rounding_mode="trunc")
        places = torch.stack([cell - row * width, row], dim=1) * stride + stride // 2
        sides = padded(distances.flatten(1), most).t()[cell]
        boxes = box_corners(places.float(), sides, torch.full_like(best, float(stride)))
        return best, boxes, index - cell * self.num_classes
