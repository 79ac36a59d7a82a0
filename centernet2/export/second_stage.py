"""The RoI heads of one image, in operators that tracing can record."""

from __future__ import annotations

import torch
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.modeling.roi_heads import CascadeROIHeads, StandardROIHeads
from detectron2.modeling.roi_heads.mask_head import MaskRCNNConvUpsampleHead
from detectron2.structures import Boxes
from torch import nn
from torchvision.ops import roi_align

from centernet2.errors import UserError
from centernet2.export.suppression import best_boxes

__all__ = ["SecondStage", "clip"]


class SecondStage(nn.Module):
    """Refines boxes, names their classes, and draws their masks.

    Args:
        heads: trained ones, of one stage or a cascade; their parameters are shared.

    Raises:
        UserError: they are of a kind that is not known here.
    """

    def __init__(self, heads: nn.Module) -> None:
        super().__init__()
        if not isinstance(heads, StandardROIHeads):
            raise UserError(
                f"MODEL.ROI_HEADS.NAME {type(heads).__name__} cannot be exported: "
                "CustomCascadeROIHeads, CustomROIHeads and Detectron2's own two can"
            )
        if heads.keypoint_on:
            raise UserError("MODEL.KEYPOINT_ON True cannot be exported: set it to False")
        self.heads = heads
        self.cascade = isinstance(heads, CascadeROIHeads)
        self.multiply = getattr(heads, "mult_proposal_score", False)
        self.with_masks = bool(heads.mask_on)
        if self.with_masks and type(heads.mask_head) is not MaskRCNNConvUpsampleHead:
            raise UserError(
                f"MODEL.ROI_MASK_HEAD.NAME {type(heads.mask_head).__name__} cannot be exported: "
                "MaskRCNNConvUpsampleHead can; MODEL.MASK_ON False exports the boxes alone"
            )

    def forward(
        self,
        features: dict[str, torch.Tensor],
        boxes: torch.Tensor,
        objectness: torch.Tensor,
        limits: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Boxes, scores and classes.

        Args:
            features: the pyramid of one image, ``(1, C, H_l, W_l)`` by name.
            boxes: ``(R, 4)`` proposals.
            objectness: ``(R,)`` their scores, 0 to 1.
            limits: see :func:`clip`.

        Returns:
            ``(N, 4)`` boxes within the image, ``(N,)`` scores, ``(N,)`` int64 classes, best first.
        """
        heads = self.heads
        maps = [features[name] for name in heads.box_in_features]
        if self.cascade:
            stages = list(zip(heads.box_head, heads.box_predictor))
        else:
            stages = [(heads.box_head, heads.box_predictor)]
        total: torch.Tensor | float = 0.0
        for number, (head, predictor) in enumerate(stages):
            if number:
                boxes = clip(boxes, limits)
            logits, deltas = predictor(head(_pooled(heads.box_pooler, maps, boxes)))
            sigmoid = getattr(predictor, "use_sigmoid_ce", False)
            total = total + (logits.sigmoid() if sigmoid else logits.softmax(dim=1))
            boxes = predictor.box2box_transform.apply_deltas(deltas, boxes)
        scores = (total / len(stages))[:, :-1]  # type: ignore[index]  # the last is background
        if self.multiply:
            scores = (scores * objectness[:, None]).sqrt()
        return self._detections(boxes, scores, limits)

    def _detections(
        self, boxes: torch.Tensor, scores: torch.Tensor, limits: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """From ``(R, 4)`` or ``(R, 4 * C)`` boxes and ``(R, C)`` scores."""
        num_classes = scores.shape[1]
        predictor = self.heads.box_predictor[-1] if self.cascade else self.heads.box_predictor
        found = (scores > predictor.test_score_thresh).nonzero()
        row, label = found[:, 0], found[:, 1]
        scores = scores[row, label]
        own = boxes.shape[1] > 4
        boxes = boxes.reshape(-1, num_classes, 4)[row, label] if own else boxes[row]
        boxes = clip(boxes, limits)
        keep = best_boxes(
            boxes,
            scores,
            label,
            int(num_classes),
            predictor.test_nms_thresh,
            predictor.test_topk_per_image,
        )
        return boxes[keep], scores[keep], label[keep]

    def masks(
        self, features: dict[str, torch.Tensor], boxes: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Probability of each cell of each box to belong to the object, ``(N, S, S)``."""
        heads = self.heads
        maps = [features[name] for name in heads.mask_in_features]
        logits = heads.mask_head.layers(_pooled(heads.mask_pooler, maps, boxes))
        if logits.shape[1] == 1:
            return logits[:, 0].sigmoid()
        return logits[torch.arange(labels.shape[0]), labels].sigmoid()


def clip(boxes: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """``(N, C * 4)`` boxes within an image of ``limits``: its ``(width, height)`` twice."""
    return torch.minimum(boxes.clamp(min=0), limits)


def _pooled(pooler: ROIPooler, maps: list[torch.Tensor], boxes: torch.Tensor) -> torch.Tensor:
    """Features of ``(N, 4)`` boxes, each from its level: ``(N, C, bins, bins)``."""
    rois = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], dim=1)  # all on image 0
    kernels = list(pooler.level_poolers)
    level = assign_boxes_to_levels(
        [Boxes(boxes)],
        pooler.min_level,
        pooler.max_level,
        pooler.canonical_box_size,
        pooler.canonical_level,
    )
    members = [(level == number).nonzero()[:, 0] for number in range(len(kernels))]
    pooled = [
        roi_align(
            level_map,
            rois[which],
            kernel.output_size,
            kernel.spatial_scale,
            kernel.sampling_ratio,
            kernel.aligned,
        )
        for level_map, kernel, which in zip(maps, kernels, members)
    ]
    return torch.cat(pooled)[torch.cat(members).argsort()]
