"""RoI heads of CenterNet2: Detectron2's, with our box predictor and score multiplication."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, CascadeROIHeads, StandardROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import Instances

from .box_predictor import CenterNetOutputLayers, multiply_proposal_scores
from .class_frequency import TrainingImageCounts
from .pooler import faster_pooler

__all__ = ["CenterNetCascadeROIHeads", "CenterNetROIHeads"]


def _plain_loss(cfg: Any) -> Any:
    """The config as Detectron2's own predictor, which we replace, can be built from.

    It would look for the class frequencies while it is constructed, even for evaluation.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.ROI_BOX_HEAD.USE_FED_LOSS = False
    return cfg


class _WithProposalScores:
    """What both kinds of heads add to the constructor of Detectron2's."""

    @configurable
    def __init__(self, *, mult_proposal_score: bool = False, **kwargs: Any) -> None:
        """
        Args:
            mult_proposal_score: detection scores are ``sqrt(p_class * p_proposal)``.
            **kwargs: see Detectron2's ``CascadeROIHeads`` and ``StandardROIHeads``.
        """
        super().__init__(**kwargs)
        self.mult_proposal_score = mult_proposal_score

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        ret: dict[str, Any] = super().from_config(cfg, input_shape)  # type: ignore[misc]
        ret["mult_proposal_score"] = cfg.MODEL.ROI_BOX_HEAD.MULT_PROPOSAL_SCORE
        poolers = {key: value for key, value in ret.items() if isinstance(value, ROIPooler)}
        ret.update({key: faster_pooler(pooler) for key, pooler in poolers.items()})
        return ret


@ROI_HEADS_REGISTRY.register()
class CenterNetCascadeROIHeads(_WithProposalScores, CascadeROIHeads):
    """Cascade of box heads (report section 2); ``CustomCascadeROIHeads`` in published configs."""

    @classmethod
    def _init_box_head(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        ret = super()._init_box_head(_plain_loss(cfg), input_shape)
        # One for all stages, which would read or count the training data each by itself
        image_counts = TrainingImageCounts(cfg)
        ret["box_predictors"] = [
            CenterNetOutputLayers(
                cfg,
                head.output_shape,
                box2box_transform=Box2BoxTransform(weights=weights),
                image_counts=image_counts,
            )
            for head, weights in zip(
                ret["box_heads"], cfg.MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS
            )
        ]
        return ret

    def _forward_box(
        self,
        features: dict[str, torch.Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> Any:
        if self.training or not self.mult_proposal_score:
            return super()._forward_box(features, proposals, targets)

        maps = [features[f] for f in self.box_in_features]
        image_sizes = [p.image_size for p in proposals]
        stage_proposals, stage_probs = proposals, []
        for k in range(self.num_cascade_stages):
            predictor = self.box_predictor[k]
            predictions = self._run_stage(maps, stage_proposals, k)
            stage_probs.append(predictor.predict_probs(predictions, stage_proposals))
            boxes = predictor.predict_boxes(predictions, stage_proposals)
            if k + 1 < self.num_cascade_stages:
                stage_proposals = self._create_proposals_from_boxes(boxes, image_sizes)

        probs = [torch.stack(stages).mean(dim=0) for stages in zip(*stage_probs)]
        return fast_rcnn_inference(
            boxes,
            multiply_proposal_scores(probs, proposals),
            image_sizes,
            predictor.test_score_thresh,
            predictor.test_nms_thresh,
            predictor.test_topk_per_image,
        )[0]


@ROI_HEADS_REGISTRY.register()
class CenterNetROIHeads(_WithProposalScores, StandardROIHeads):
    """A single Faster R-CNN stage; ``CustomROIHeads`` in published configs."""

    @classmethod
    def _init_box_head(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        ret = super()._init_box_head(_plain_loss(cfg), input_shape)
        ret["box_predictor"] = CenterNetOutputLayers(cfg, ret["box_head"].output_shape)
        return ret

    def _forward_box(self, features: dict[str, torch.Tensor], proposals: list[Instances]) -> Any:
        if self.training or not self.mult_proposal_score:
            return super()._forward_box(features, proposals)

        maps = [features[f] for f in self.box_in_features]
        predictor = self.box_predictor
        pooled = self.box_pooler(maps, [p.proposal_boxes for p in proposals])
        predictions = predictor(self.box_head(pooled))
        return fast_rcnn_inference(
            predictor.predict_boxes(predictions, proposals),
            multiply_proposal_scores(predictor.predict_probs(predictions, proposals), proposals),
            [p.image_size for p in proposals],
            predictor.test_score_thresh,
            predictor.test_nms_thresh,
            predictor.test_topk_per_image,
        )[0]


# Names of the published release
ROI_HEADS_REGISTRY._do_register("CustomCascadeROIHeads", CenterNetCascadeROIHeads)
ROI_HEADS_REGISTRY._do_register("CustomROIHeads", CenterNetROIHeads)
