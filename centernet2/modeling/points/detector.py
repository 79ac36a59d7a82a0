"""The meta-architecture of objects as points: detection and the pose of people."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.structures import Boxes, ImageList, Instances
from torch import nn

from centernet2.errors import UserError

from ..image_model import ImageModel
from ..soft_nms import SoftNMSSettings
from .decode import Found
from .head import PointsHead
from .inference import InferenceSettings, detect
from .joints import JointSettings
from .losses import LossSettings, point_losses
from .maps import PointMaps
from .partners import joint_partners
from .targets import STRIDE, TargetSettings, make_targets

__all__ = ["ObjectsAsPoints"]

# Of networks that take any size
_USUAL_MULTIPLE = 32
# Detectron2 has coordinates of edges, COCO's joints and the published models those of pixels
_HALF_PIXEL = 0.5


@META_ARCH_REGISTRY.register()
class ObjectsAsPoints(ImageModel):
    """Objects as Points (Zhou, Wang and Krähenbühl 2019): an object is a peak at its box's centre.

    Every map of the backbone is of stride 4 and has heads of its own. All learn; at test time only
    those of the last one are run.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        head: nn.Module,
        num_classes: int,
        targets: TargetSettings,
        losses: LossSettings,
        inference: InferenceSettings,
        pixel_mean: list[float],
        pixel_std: list[float],
        num_joints: int = 0,
        score_threshold: float = 0.0,
        round_results: bool = True,
        clip_boxes: bool = False,
    ) -> None:
        """
        Args:
            backbone: maps ``(N, 3, H, W)`` to a dict of features of stride 4.
            head: of a feature and its number, to :class:`.maps.PointMaps`.
            num_classes: channels of the heatmap.
            targets, losses, inference: settings of the three.
            pixel_mean, pixel_std: statistics of the input channels, which are 0 to 255.
            num_joints: of a person; 0: no pose.
            score_threshold: least score of a detection.
            round_results: round boxes, joints and scores to two decimals.
            clip_boxes: clip boxes to the image and leave out those outside of it.
        """
        super().__init__(pixel_mean, pixel_std)
        self.backbone = backbone
        self.multiple = int(backbone.size_divisibility) or _USUAL_MULTIPLE  # type: ignore[arg-type]
        self.head = head
        self.num_classes, self.num_joints = num_classes, num_joints
        self.targets, self.losses, self.inference = targets, losses, inference
        self.score_threshold = score_threshold
        self.round_results, self.clip_boxes = round_results, clip_boxes

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        c = cfg.MODEL.POINTS
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        widths = {shape.channels for shape in shapes.values()}
        if {shape.stride for shape in shapes.values()} != {STRIDE} or len(widths) != 1:
            raise UserError(
                "MODEL.META_ARCHITECTURE ObjectsAsPoints needs maps of stride 4 and one width, "
                f"which MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME} does not give; the configs "
                "in configs/points name backbones that do."
            )
        stacks = len(shapes) if all(name.startswith("stack") for name in shapes) else 0
        return {
            "backbone": backbone,
            "head": PointsHead(cfg, widths.pop(), stacks),
            "num_classes": c.NUM_CLASSES,
            "num_joints": _num_joints(cfg),
            "targets": TargetSettings(c.HM_MIN_OVERLAP, c.CORRECTED_RADIUS),
            "losses": LossSettings(
                hm=c.HM_WEIGHT,
                wh=c.SIZE_WEIGHT,
                reg=c.OFFSET_WEIGHT,
                hps=c.JOINT_WEIGHT,
                hm_hp=c.JOINT_HM_WEIGHT,
                hp_offset=c.JOINT_OFFSET_WEIGHT,
                clamp=c.SIGMOID_CLAMP,
            ),
            "inference": _inference_settings(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "score_threshold": c.SCORE_THRESH_TEST,
            "round_results": c.ROUND_RESULTS,
            "clip_boxes": c.CLIP_BOXES,
        }

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """
        Args:
            batched_inputs: Detectron2's standard dicts: ``image`` ``(3, H, W)`` of 0 to 255, in
                training ``instances``, at test time optionally ``height`` and ``width`` of the
                output. The joints of ``gt_keypoints`` are in coordinates of pixels (0 is the middle
                of the first one) and keep their visibility where they lie outside of the image.

        Returns:
            Losses by name in training; else one ``{"instances": Instances}`` an image, with
            ``pred_boxes`` and for pose ``pred_keypoints`` ``(N, J, 3)`` in Detectron2's
            coordinates.
        """
        images = [x["image"].to(self.device, torch.float32) for x in batched_inputs]
        if self.training:
            return self._train(images, [x["instances"].to(self.device) for x in batched_inputs])
        found = detect(images, self._last_maps, self.multiple, self.inference)
        return [
            {"instances": self._instances(objects, image.shape[-2:], given)}
            for objects, image, given in zip(found, images, batched_inputs)
        ]

    def _train(
        self, images: list[torch.Tensor], instances: list[Instances]
    ) -> dict[str, torch.Tensor]:
        batch = ImageList.from_tensors(images, self.multiple).tensor
        features = list(self.backbone(self.normalised(batch)).values())
        joints = None
        if self.num_joints:
            joints = [_joints(x, self.num_joints) for x in instances]
        targets = make_targets(
            [x.gt_boxes.tensor for x in instances],
            [x.gt_classes for x in instances],
            (features[0].shape[-2], features[0].shape[-1]),
            self.num_classes,
            self.targets,
            joints,
        )
        total: dict[str, torch.Tensor] = defaultdict(lambda: batch.new_zeros(()))
        for stack, feature in enumerate(features):
            losses = point_losses(self.head(feature, stack), targets, self.losses)
            for name, loss in losses.items():
                total[name] = total[name] + loss / len(features)
        return dict(total)

    def _last_maps(self, pixels: torch.Tensor) -> PointMaps:
        features = list(self.backbone(self.normalised(pixels)).values())
        maps: PointMaps = self.head(features[-1], len(features) - 1)
        return maps

    def _instances(self, found: Found, size: torch.Size, given: dict[str, Any]) -> Instances:
        height, width = given.get("height", size[0]), given.get("width", size[1])
        factor = found.boxes.new_tensor([width / size[1], height / size[0]])
        found = _rescaled(found, factor)
        if self.round_results:
            found = _rounded(found)
        found = found.take(found.scores >= self.score_threshold)
        if self.clip_boxes:
            boxes = Boxes(found.boxes.clone())
            boxes.clip((height, width))
            found = found._replace(boxes=boxes.tensor).take(boxes.nonempty())
        instances = Instances(
            (height, width),
            pred_boxes=Boxes(found.boxes),
            scores=found.scores,
            pred_classes=found.classes,
        )
        if found.joints is not None:
            shift = found.joints.new_tensor([_HALF_PIXEL, _HALF_PIXEL, 0])
            instances.pred_keypoints = found.joints + shift
        return instances


def _num_joints(cfg: Any) -> int:
    return int(cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS) if cfg.MODEL.KEYPOINT_ON else 0


def _inference_settings(cfg: Any) -> InferenceSettings:
    c = cfg.MODEL.POINTS
    return InferenceSettings(
        scales=tuple(c.TEST_SCALES),
        mirror=c.TEST_MIRROR,
        fixed_size=c.TEST_FIXED_SIZE,
        top_k=c.TOP_K,
        joints=JointSettings(c.JOINT_MATCH, c.JOINT_THRESH),
        partners=joint_partners(cfg) if c.TEST_MIRROR and cfg.MODEL.KEYPOINT_ON else (),
        always_nms=c.NMS,
        nms=SoftNMSSettings(
            sigma=c.NMS_SIGMA,
            score_threshold=c.NMS_SCORE_THRESH,
            keep_stale=c.NMS_KEEPS_STALE,
            carry_scores=True,
        ),
        max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
    )


def _joints(instances: Instances, number: int) -> torch.Tensor:
    """``(N, J, 3)``; an image without objects has none to tell their shape."""
    if not len(instances):
        return instances.gt_boxes.tensor.new_zeros(0, number, 3)
    joints: torch.Tensor = instances.gt_keypoints.tensor
    return joints


def _rescaled(found: Found, factor: torch.Tensor) -> Found:
    """With x and y times ``(2,)`` factors."""
    joints = found.joints
    if joints is not None:
        joints = torch.cat([joints[..., :2] * factor, joints[..., 2:]], dim=2)
    return found._replace(boxes=found.boxes * factor.repeat(2), joints=joints)


def _rounded(found: Found) -> Found:
    """With x, y, width, height and scores of two decimals, as in the published result files."""
    corner, size = found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]
    corner, size = corner.round(decimals=2), size.round(decimals=2)
    joints = found.joints
    return Found(
        torch.cat([corner, corner + size], dim=1),
        found.scores.round(decimals=2),
        found.classes,
        None if joints is None else joints.round(decimals=2),
    )
