"""The meta-architectures of objects as keypoints: CenterNet with triplets, and CornerNet."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from centernet2.errors import UserError

from ..image_model import ImageModel
from ..soft_nms import SoftNMSSettings
from .heads import TripletHeads
from .inference import InferenceSettings, detect
from .losses import LossSettings, triplet_losses
from .maps import TripletMaps
from .targets import TargetSettings, make_targets
from .views import pad_batch

__all__ = ["CenterNetTriplets", "CornerNet"]


@META_ARCH_REGISTRY.register()
class CenterNetTriplets(ImageModel):
    """CenterNet of 2019: a box is a pair of corners that a centre in its middle confirms.

    Every map of the backbone is of stride 4 and has heads of its own. All learn; at test time only
    those of the last one are run.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        heads: nn.Module,
        num_classes: int,
        targets: TargetSettings,
        losses: LossSettings,
        inference: InferenceSettings,
        pixel_mean: list[float],
        pixel_std: list[float],
        uniform_norm_init: bool = True,
    ) -> None:
        """
        Args:
            backbone: maps ``(N, 3, H, W)`` to a dict of features of stride 4.
            heads: of a feature and its number, to :class:`.maps.TripletMaps`.
            num_classes: channels of the heatmaps.
            targets, losses, inference: settings of the three.
            pixel_mean, pixel_std: statistics of the input channels, which are 0 to 255.
            uniform_norm_init: draw the first weights of the batch normalisations from U(0, 1),
                the default of the PyTorch that the published models were trained with.
        """
        super().__init__(pixel_mean, pixel_std)
        self.backbone = backbone
        self._multiple = int(backbone.size_divisibility)  # type: ignore[arg-type]
        self.heads = heads
        self.num_classes = num_classes
        self.targets, self.losses, self.inference = targets, losses, inference
        if uniform_norm_init:
            for module in self.modules():
                if isinstance(module, _NormBase) and module.affine:
                    nn.init.uniform_(module.weight)

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        c = cfg.MODEL.TRIPLETS
        backbone = build_backbone(cfg)
        shapes = list(backbone.output_shape().values())
        if {(s.stride, s.channels) for s in shapes} != {(4, shapes[0].channels)}:
            raise UserError(
                f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} needs maps of stride 4 and "
                "one width, which MODEL.BACKBONE.NAME build_hourglass_backbone gives, not "
                f"{cfg.MODEL.BACKBONE.NAME}."
            )
        return {
            "backbone": backbone,
            "heads": TripletHeads(cfg, len(shapes), shapes[0].channels),
            "num_classes": c.NUM_CLASSES,
            "targets": TargetSettings(
                overlap=c.HM_MIN_OVERLAP,
                corrected_radius=c.CORRECTED_RADIUS,
                corner_sigma=c.CORNER_SIGMA_DIVISOR,
                center_sigma=c.CENTER_SIGMA_DIVISOR,
                centers=c.CENTRAL_REGION,
            ),
            "losses": LossSettings(
                pull_weight=c.PULL_WEIGHT,
                push_weight=c.PUSH_WEIGHT,
                offset_weight=c.OFFSET_WEIGHT,
                clamp=c.SIGMOID_CLAMP,
                push_diagonal=c.PUSH_DIAGONAL,
            ),
            "inference": _inference_settings(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "uniform_norm_init": c.UNIFORM_NORM_INIT,
        }

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """
        Args:
            batched_inputs: Detectron2's standard dicts: ``image`` ``(3, H, W)`` of 0 to 255, in
                training ``instances``, at test time optionally ``height`` and ``width`` of the
                output. Images are best given unresized.

        Returns:
            Losses by name in training; else one ``{"instances": Instances}`` an image.
        """
        images = [x["image"].to(self.device, torch.float32) for x in batched_inputs]
        if self.training:
            return self._train(images, [x["instances"].to(self.device) for x in batched_inputs])
        return [{"instances": self._find(*pair)} for pair in zip(images, batched_inputs)]

    def _train(
        self, images: list[torch.Tensor], instances: list[Instances]
    ) -> dict[str, torch.Tensor]:
        batch = pad_batch(images, self._multiple)
        features = list(self.backbone(self.normalised(batch)).values())
        targets = make_targets(
            [x.gt_boxes.tensor for x in instances],
            [x.gt_classes for x in instances],
            (batch.shape[-2], batch.shape[-1]),
            (features[0].shape[-2], features[0].shape[-1]),
            self.num_classes,
            self.targets,
        )
        total: dict[str, torch.Tensor] = defaultdict(lambda: batch.new_zeros(()))
        for stack, feature in enumerate(features):
            losses = triplet_losses(self.heads(feature, stack), targets, self.losses)
            for name, loss in losses.items():
                total[name] = total[name] + loss / len(features)
        return dict(total)

    def _find(self, image: torch.Tensor, given: dict[str, Any]) -> Instances:
        found = detect(image, self._last_maps, self._multiple, self.inference)
        height, width = image.shape[-2:]
        instances = Instances(
            (height, width),
            pred_boxes=Boxes(found.boxes),
            scores=found.scores,
            pred_classes=found.classes,
        )
        return detector_postprocess(
            instances, given.get("height", height), given.get("width", width)
        )

    def _last_maps(self, pixels: torch.Tensor) -> TripletMaps:
        features = list(self.backbone(self.normalised(pixels)).values())
        maps: TripletMaps = self.heads(features[-1], len(features) - 1)
        return maps


@META_ARCH_REGISTRY.register()
class CornerNet(CenterNetTriplets):
    """Pairs of corners alone: as CenterNetTriplets with MODEL.TRIPLETS.CENTRAL_REGION False."""

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.TRIPLETS.CENTRAL_REGION = False
        return super().from_config(cfg)


def _inference_settings(cfg: Any) -> InferenceSettings:
    c = cfg.MODEL.TRIPLETS
    for key, known in (
        ("CENTER_MATCH", ("first", "best")),
        ("NMS_METHOD", ("gaussian", "linear", "hard")),
    ):
        if c[key] not in known:
            names = ", ".join(f"'{name}'" for name in known)
            raise UserError(f"MODEL.TRIPLETS.{key} is '{c[key]}'; choose one of {names}.")
    return InferenceSettings(
        scales=tuple(c.TEST_SCALES),
        mirror=c.TEST_MIRROR,
        pad_loses_last_row=c.PAD_LOSES_LAST_ROW,
        top_k=c.TOP_K,
        tag_threshold=c.TAG_THRESHOLD,
        num_pairs=c.NUM_PAIRS,
        border_margin=c.BORDER_MARGIN if c.BORDER_MARGIN >= 0 else None,
        best_center=c.CENTER_MATCH == "best",
        centers_of_scale_one=c.CENTERS_OF_SCALE_ONE,
        nms=SoftNMSSettings(
            method=c.NMS_METHOD,
            sigma=c.NMS_SIGMA,
            iou_threshold=c.NMS_IOU,
            score_threshold=c.NMS_SCORE_THRESH,
            merge=c.NMS_MERGE,
            merge_exponent=c.NMS_MERGE_EXPONENT,
            keep_stale=c.NMS_KEEPS_STALE,
            carry_scores=c.NMS_CARRIES_SCORES,
        ),
        max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
        keep_ties=c.KEEP_TIES,
        score_threshold=c.SCORE_THRESH_TEST,
        round_results=c.ROUND_RESULTS,
    )
