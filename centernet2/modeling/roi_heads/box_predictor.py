"""Box predictor of the second stage: Detectron2's, with the losses for long-tailed data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec, cat
from detectron2.modeling.roi_heads.fast_rcnn import (
    FastRCNNOutputLayers,
    _log_classification_stats,
)
from detectron2.structures import Instances
from torch import nn

from centernet2.errors import UserError

from .class_frequency import TrainingImageCounts
from .classification_losses import (
    equalization_weight,
    federated_weight,
    rarest_classes,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)

__all__ = ["CenterNetOutputLayers", "multiply_proposal_scores"]

CLASSIFICATION_LOSSES = ("softmax", "sigmoid", "eql", "federated")


class CenterNetOutputLayers(FastRCNNOutputLayers):
    """Class scores and box deltas of RoIs, for any RoI heads."""

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        classification_loss: str = "softmax",
        prior_prob: float = 0.01,
        image_counts: Callable[[], torch.Tensor] | None = None,
        eql_freq_cat: int = 200,
        eql_num_rarest: int = 0,
        fed_loss_num_classes: int = 50,
        fed_loss_per_image: bool = False,
        fed_loss_freq_power: float = 0.5,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            input_shape: shape of a RoI's features.
            classification_loss: one of :data:`CLASSIFICATION_LOSSES`.
            prior_prob: initial probability of a class with the sigmoid losses.
            image_counts: returns ``(C,)`` numbers of training images with each class; called at
                the first loss that needs it, so never at evaluation.
            eql_freq_cat: classes in fewer images than this are tail classes.
            eql_num_rarest: or the tail is this many classes of fewest images; 0: ``eql_freq_cat``.
            fed_loss_num_classes: size of the subset of classes of the federated loss.
            fed_loss_per_image: a subset for each image instead of one an iteration.
            fed_loss_freq_power: exponent of the counts in its sampling.
            **kwargs: see Detectron2's ``FastRCNNOutputLayers``.

        Raises:
            UserError: if ``eql_num_rarest`` is not from 0 to C, or not 0 with another loss;
                if ``fed_loss_per_image`` is set with another loss.
        """
        super().__init__(input_shape, **kwargs)
        if classification_loss not in CLASSIFICATION_LOSSES:
            raise ValueError(
                f"unknown classification loss {classification_loss!r}, "
                f"choose one of {CLASSIFICATION_LOSSES}"
            )
        if eql_num_rarest and classification_loss != "eql":
            raise UserError(
                f"MODEL.ROI_BOX_HEAD.EQL_NUM_RAREST is {eql_num_rarest}, but only the equalization "
                "loss has a tail: set MODEL.ROI_BOX_HEAD.USE_EQL_LOSS to True, or the number to 0."
            )
        if not 0 <= eql_num_rarest <= self.num_classes:
            raise UserError(
                f"MODEL.ROI_BOX_HEAD.EQL_NUM_RAREST is {eql_num_rarest}, but it must be from 0 to "
                f"MODEL.ROI_HEADS.NUM_CLASSES, which is {self.num_classes}."
            )
        if fed_loss_per_image and classification_loss != "federated":
            raise UserError(
                "MODEL.ROI_BOX_HEAD.FED_LOSS_PER_IMAGE is about the federated loss alone: "
                "set MODEL.ROI_BOX_HEAD.USE_FED_LOSS to True, or it to False."
            )
        self.classification_loss = classification_loss
        self.use_sigmoid_ce = classification_loss != "softmax"
        self.image_counts = image_counts
        self.eql_freq_cat = eql_freq_cat
        self.eql_num_rarest = eql_num_rarest
        self.fed_loss_num_classes = fed_loss_num_classes
        self.fed_loss_per_image = fed_loss_per_image
        self.fed_loss_freq_power = fed_loss_freq_power
        # Found at the first training step and never saved: a checkpoint does not need it
        self._counts: torch.Tensor | None = None
        if self.use_sigmoid_ce:
            nn.init.constant_(self.cls_score.bias, -math.log((1 - prior_prob) / prior_prob))

    @classmethod
    def from_config(cls, cfg: Any, input_shape: ShapeSpec) -> dict[str, Any]:
        ret = super().from_config(cfg, input_shape)
        # Detectron2's own variant of these losses, where it is new enough to have one
        for key in (
            "use_fed_loss",
            "use_sigmoid_ce",
            "get_fed_loss_cls_weights",
            "fed_loss_num_classes",
        ):
            ret.pop(key, None)
        c = cfg.MODEL.ROI_BOX_HEAD
        ret.update(
            classification_loss=_loss_name(c),
            prior_prob=c.PRIOR_PROB,
            image_counts=TrainingImageCounts(cfg),
            eql_freq_cat=c.EQL_FREQ_CAT,
            eql_num_rarest=c.EQL_NUM_RAREST,
            fed_loss_num_classes=c.FED_LOSS_NUM_CLASSES,
            fed_loss_per_image=c.FED_LOSS_PER_IMAGE,
            fed_loss_freq_power=c.FED_LOSS_FREQ_WEIGHT_POWER,
        )
        return ret

    def losses(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: list[Instances]
    ) -> dict[str, torch.Tensor]:
        """
        Args:
            predictions: ``(R, C + 1)`` scores and ``(R, 4)`` or ``(R, 4 * C)`` deltas.
            proposals: the RoIs, with ``proposal_boxes``, ``gt_boxes`` and ``gt_classes``.
        """
        scores, deltas = predictions
        labels = cat([p.gt_classes for p in proposals])
        if len(labels):
            _log_classification_stats(scores, labels)
        boxes = cat([p.proposal_boxes.tensor for p in proposals])
        # Without ground truth all RoIs are background and the placeholder is not looked at
        gt_boxes = cat(
            [(p.gt_boxes if p.has("gt_boxes") else p.proposal_boxes).tensor for p in proposals]
        )
        losses = {
            "loss_cls": self._classification_loss(scores, labels, [len(p) for p in proposals]),
            "loss_box_reg": self.box_reg_loss(boxes, gt_boxes, deltas.float(), labels),
        }
        return {k: v * self.loss_weight.get(k, 1.0) for k, v in losses.items()}

    def _classification_loss(
        self, scores: torch.Tensor, labels: torch.Tensor, rois_per_image: list[int]
    ) -> torch.Tensor:
        if self.classification_loss == "softmax":
            return softmax_cross_entropy(scores, labels)
        weight = None
        if self.classification_loss == "eql":
            weight = equalization_weight(labels, self._tail(self._image_counts(labels)))
        elif self.classification_loss == "federated":
            frequency = self._image_counts(labels).pow(self.fed_loss_freq_power)
            weight = federated_weight(
                labels,
                frequency,
                self.fed_loss_num_classes,
                rois_per_image if self.fed_loss_per_image else None,
            )
        return sigmoid_cross_entropy(scores, labels, weight)

    def _tail(self, image_counts: torch.Tensor) -> torch.Tensor:
        if self.eql_num_rarest:
            return rarest_classes(image_counts, self.eql_num_rarest)
        return image_counts < self.eql_freq_cat

    def _image_counts(self, like: torch.Tensor) -> torch.Tensor:
        if self._counts is None:
            if self.image_counts is None:
                raise ValueError(
                    f"the {self.classification_loss} loss needs image_counts, the number of "
                    "training images with each class"
                )
            self._counts = self.image_counts().to(like.device)
        return self._counts

    def predict_probs(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: Sequence[Instances]
    ) -> tuple[torch.Tensor, ...]:
        """Class probabilities, one ``(R_i, C + 1)`` an image."""
        scores = predictions[0].float()
        probs = scores.sigmoid() if self.use_sigmoid_ce else scores.softmax(dim=1)
        return probs.split([len(p) for p in proposals])


def multiply_proposal_scores(
    probs: Sequence[torch.Tensor], proposals: Sequence[Instances]
) -> list[torch.Tensor]:
    """Detection scores ``sqrt(p_class * p_proposal)`` (report section 4).

    Args:
        probs: ``(R_i, C + 1)`` class probabilities an image.
        proposals: with ``objectness_logits``, which CenterNet fills with scores in [0, 1].
    """
    return [(p * x.objectness_logits.to(p.dtype)[:, None]).sqrt() for p, x in zip(probs, proposals)]


def _loss_name(c: Any) -> str:
    if c.USE_FED_LOSS and c.USE_EQL_LOSS:
        raise ValueError("set only one of MODEL.ROI_BOX_HEAD.USE_FED_LOSS and USE_EQL_LOSS")
    for key, name in (("USE_FED_LOSS", "federated"), ("USE_EQL_LOSS", "eql")):
        if c[key]:
            if not c.USE_SIGMOID_CE:
                raise ValueError(
                    f"MODEL.ROI_BOX_HEAD.{key} is a sigmoid loss: "
                    "set MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE to True as well"
                )
            return name
    return "sigmoid" if c.USE_SIGMOID_CE else "softmax"
