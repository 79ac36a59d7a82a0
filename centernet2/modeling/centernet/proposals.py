"""The proposal generator: joins head, targets, losses and decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.proposal_generator import PROPOSAL_GENERATOR_REGISTRY
from detectron2.structures import ImageList, Instances
from detectron2.utils import comm
from torch import nn

from .box_batch import TargetParams
from .decode import DecodeParams, decode
from .grid import Grid, flatten_levels, make_grid
from .head import CenterNetHead, HeadOutputs
from .heatmap import peaks_of_map
from .losses import LossParams, box_regression_loss, heatmap_losses
from .more_positives import more_positives
from .targets import assign_targets

__all__ = ["CenterNet"]


@PROPOSAL_GENERATOR_REGISTRY.register()
class CenterNet(nn.Module):
    """FPN CenterNet: detections, or proposals for a second stage.

    Three modes: a one-stage detector (per-class heatmaps), class-agnostic proposals
    (``only_proposal``), and per-class detections used as proposals (``as_proposal``).
    """

    @configurable
    def __init__(
        self,
        *,
        centernet_head: nn.Module,
        in_features: Sequence[str],
        strides: Sequence[int],
        num_classes: int,
        only_proposal: bool,
        as_proposal: bool,
        target_params: TargetParams,
        loss_params: LossParams,
        decode_train: DecodeParams,
        decode_test: DecodeParams,
        more_pos: bool = False,
        more_pos_thresh: float = 0.2,
        more_pos_topk: int = 9,
        no_reduce: bool = False,
        not_clamp_box: bool = False,
    ) -> None:
        """
        Args:
            centernet_head: maps the features to :class:`HeadOutputs`.
            in_features: names of the levels, fine to coarse.
            strides: their strides in pixels.
            num_classes: channels of the per-class heatmap.
            only_proposal: there is no per-class heatmap.
            as_proposal: return proposals, not detections, although there are classes.
            target_params, loss_params: see their classes.
            decode_train, decode_test: how boxes are chosen while training and at test time.
            more_pos, more_pos_thresh, more_pos_topk: see :func:`more_positives`.
            no_reduce: do not average the normalisers over processes.
            not_clamp_box: boxes may stick out of the image; move their centres inside.
        """
        super().__init__()
        self.centernet_head = centernet_head
        self.in_features = list(in_features)
        self.strides = list(strides)
        self.num_classes = num_classes
        self.only_proposal = only_proposal
        self.as_proposal = as_proposal
        self.target_params = target_params
        self.loss_params = loss_params
        self.decode_train = decode_train
        self.decode_test = decode_test
        self.more_pos = more_pos
        self.more_pos_thresh = more_pos_thresh
        self.more_pos_topk = more_pos_topk
        self.no_reduce = no_reduce
        self.not_clamp_box = not_clamp_box

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        c = cfg.MODEL.CENTERNET
        missing = [name for name in c.IN_FEATURES if name not in input_shape]
        if missing:
            raise ValueError(
                f"MODEL.CENTERNET.IN_FEATURES names {missing}, but the backbone "
                f"{cfg.MODEL.BACKBONE.NAME} returns {list(input_shape)}"
            )
        strides = [input_shape[name].stride for name in c.IN_FEATURES]
        if list(c.FPN_STRIDES) != strides:
            raise ValueError(
                f"MODEL.CENTERNET.FPN_STRIDES is {list(c.FPN_STRIDES)}, but the levels "
                f"{list(c.IN_FEATURES)} of the backbone have strides {strides}"
            )
        if len(c.SOI) != len(strides):
            raise ValueError(
                f"MODEL.CENTERNET.SOI has {len(c.SOI)} ranges for {len(strides)} levels"
            )
        delta = (1 - c.HM_MIN_OVERLAP) / (1 + c.HM_MIN_OVERLAP)

        def decode_params(when: str) -> DecodeParams:
            return DecodeParams(
                score_thresh=c.INFERENCE_TH,
                pre_nms_topk=c[f"PRE_NMS_TOPK_{when}"],
                post_nms_topk=c[f"POST_NMS_TOPK_{when}"],
                nms_thresh=c[f"NMS_TH_{when}"],
                not_nms=c.NOT_NMS,
                center_nms=c.CENTER_NMS,
            )

        return {
            "centernet_head": CenterNetHead(cfg, [input_shape[name] for name in c.IN_FEATURES]),
            "in_features": c.IN_FEATURES,
            "strides": strides,
            "num_classes": c.NUM_CLASSES,
            "only_proposal": c.ONLY_PROPOSAL,
            "as_proposal": c.AS_PROPOSAL,
            "target_params": TargetParams(soi=c.SOI, delta=delta, min_radius=c.MIN_RADIUS),
            "loss_params": LossParams(
                pos_weight=c.POS_WEIGHT,
                neg_weight=c.NEG_WEIGHT,
                reg_weight=c.REG_WEIGHT,
                focal_alpha=c.HM_FOCAL_ALPHA,
                focal_beta=c.HM_FOCAL_BETA,
                focal_gamma=c.LOSS_GAMMA,
                sigmoid_clamp=c.SIGMOID_CLAMP,
                ignore_high_fp=c.IGNORE_HIGH_FP,
                loc_loss_type=c.LOC_LOSS_TYPE,
                not_norm_reg=c.NOT_NORM_REG,
            ),
            "decode_train": decode_params("TRAIN"),
            "decode_test": decode_params("TEST"),
            "more_pos": c.MORE_POS,
            "more_pos_thresh": c.MORE_POS_THRESH,
            "more_pos_topk": c.MORE_POS_TOPK,
            "no_reduce": c.NO_REDUCE,
            "not_clamp_box": cfg.INPUT.NOT_CLAMP_BOX,
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        gt_instances: Sequence[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """
        Args:
            images: the batch (only its sizes are used).
            features: the pyramid, ``(B, C, H_l, W_l)`` by name.
            gt_instances: ground truth with ``gt_boxes`` and ``gt_classes``; needed in training.

        Returns:
            Proposals (``proposal_boxes``, ``objectness_logits``; the latter holds scores in
            [0, 1], as published) or, for a one-stage detector, detections (``pred_boxes``,
            ``scores``, ``pred_classes``; none in training), and the losses (empty at test time).
        """
        maps = [features[name] for name in self.in_features]
        shapes = [(int(m.shape[2]), int(m.shape[3])) for m in maps]
        grid = make_grid(shapes, self.strides, maps[0].device)
        outputs = self.centernet_head(maps)

        losses: dict[str, torch.Tensor] = {}
        if self.training:
            if gt_instances is None:
                raise ValueError("CenterNet needs gt_instances while training")
            losses = self.losses(grid, outputs, gt_instances)

        proposing = self.only_proposal or self.as_proposal
        if self.training and not proposing:
            return [], losses
        params = self.decode_train if self.training else self.decode_test
        found = decode(
            grid,
            outputs.class_logits,
            outputs.agnostic_logits,
            outputs.boxes,
            images.image_sizes,
            params,
        )
        return ([_as_proposals(f) for f in found] if proposing else found), losses

    def losses(
        self, grid: Grid, outputs: HeadOutputs, gt_instances: Sequence[Instances]
    ) -> dict[str, torch.Tensor]:
        """Losses of a batch; names as in the published release."""
        boxes = [g.gt_boxes.tensor for g in gt_instances]
        classes = None if self.only_proposal else [g.gt_classes for g in gt_instances]
        sizes = [g.image_size for g in gt_instances] if self.not_clamp_box else None
        num_classes = 1 if self.only_proposal else self.num_classes
        targets = assign_targets(grid, boxes, classes, num_classes, self.target_params, sizes)

        # Loss arithmetic is in float32 under autocast too
        box_pred = flatten_levels(outputs.boxes).flatten(0, 1).float()
        pos_index, pos_class = targets.pos_index, targets.pos_class
        if self.more_pos:
            pos_index, pos_class = more_positives(
                grid,
                targets.batch,
                box_pred.detach(),
                threshold=self.more_pos_thresh,
                topk=self.more_pos_topk,
                kind=self.loss_params.loc_loss_type,
            )

        params = self.loss_params
        weight = targets.reg_weight
        if params.not_norm_reg:
            weight = torch.ones_like(weight)
        count = box_pred.new_tensor(float(len(pos_index)))
        num_pos, norm = self._mean_over_processes(torch.stack([count, weight.sum()])).clamp(min=1)

        losses = {
            "loss_centernet_loc": box_regression_loss(
                box_pred[targets.reg_index], targets.reg_target, weight, norm, params
            )
        }
        if outputs.class_logits is not None:
            losses["loss_centernet_pos"], losses["loss_centernet_neg"] = heatmap_losses(
                grid, outputs.class_logits, targets.peaks, pos_index, pos_class, num_pos, params
            )
        if outputs.agnostic_logits is not None:
            peaks = targets.peaks if self.only_proposal else peaks_of_map(targets.heatmap)
            channel = torch.zeros_like(pos_class)
            losses["loss_centernet_agn_pos"], losses["loss_centernet_agn_neg"] = heatmap_losses(
                grid, outputs.agnostic_logits, peaks, pos_index, channel, num_pos, params
            )
        return losses

    def _mean_over_processes(self, values: torch.Tensor) -> torch.Tensor:
        world_size = comm.get_world_size()
        if self.no_reduce or world_size == 1:
            return values
        torch.distributed.all_reduce(values)
        return values / world_size


def _as_proposals(detections: Instances) -> Instances:
    proposals = Instances(detections.image_size)
    proposals.proposal_boxes = detections.pred_boxes
    proposals.objectness_logits = detections.scores
    return proposals
