"""The meta-architecture ``MobileCenterNet``."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from torch import nn

from centernet2.errors import UserError

from ..image_model import ImageModel
from .decode import decode
from .network import CenterHead

__all__ = ["MobileCenterNet"]


@META_ARCH_REGISTRY.register()
class MobileCenterNet(ImageModel):
    """Objects as peaks of one heatmap a class, for weights from elsewhere: it does not train.

    Each image is put in the middle of a black square whose side is a multiple of 32, as the
    weights were trained on squares of 512 pixels. Boxes need no suppression.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        head: nn.Module,
        num_classes: int,
        max_detections: int,
        pixel_mean: list[float],
        pixel_std: list[float],
    ) -> None:
        """
        Args:
            backbone: maps ``(B, 3, H, W)`` to a dict of one feature of stride 4.
            head: of that feature, to scores and distances.
            num_classes: number of heatmaps.
            max_detections: most detections of an image.
            pixel_mean, pixel_std: statistics of the input channels, which are 0 to 255.
        """
        super().__init__(pixel_mean, pixel_std)
        self.backbone = backbone
        self._multiple = int(backbone.size_divisibility)  # type: ignore[arg-type]
        self.head = head
        self.num_classes = num_classes
        self.max_detections = max_detections

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        backbone = build_backbone(cfg)
        shapes = list(backbone.output_shape().values())
        if [shape.stride for shape in shapes] != [4]:
            raise UserError(
                "MODEL.META_ARCHITECTURE MobileCenterNet needs one map of stride 4, which "
                "MODEL.BACKBONE.NAME build_mobilenetv3_unet_backbone gives, not "
                f"{cfg.MODEL.BACKBONE.NAME}."
            )
        num_classes = cfg.MODEL.MOBILE_CENTERNET.NUM_CLASSES
        return {
            "backbone": backbone,
            "head": CenterHead(shapes[0].channels, num_classes),
            "num_classes": num_classes,
            "max_detections": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    def maps(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The network alone, a function of tensors that can be traced.

        Args:
            pixels: ``(B, 3, H, W)`` of 0 to 255; H and W are multiples of 32.

        Returns:
            Scores ``(B, C, H / 4, W / 4)`` and distances ``(B, 4, H / 4, W / 4)``; see
            :class:`.network.CenterHead`.
        """
        (feature,) = self.backbone(self.normalised(pixels)).values()
        found: tuple[torch.Tensor, torch.Tensor] = self.head(feature)
        return found

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """
        Args:
            batched_inputs: Detectron2's standard dicts: ``image`` ``(3, H, W)`` of 0 to 255,
                optionally ``height`` and ``width`` of the output.

        Returns:
            One ``{"instances": Instances}`` an image.

        Raises:
            UserError: in training.
        """
        if self.training:
            raise UserError(
                "MODEL.META_ARCHITECTURE MobileCenterNet does not train; to train from its "
                "weights, take configs/small/CenterNet2_MobileNetV3_pennfudan.yaml."
            )
        images = [given["image"].to(self.device, torch.float32) for given in batched_inputs]
        groups = defaultdict(list)
        for place, image in enumerate(images):
            groups[-(-max(image.shape[-2:]) // self._multiple) * self._multiple].append(place)
        results: list[dict[str, Instances]] = [{}] * len(images)
        for side, places in groups.items():
            batch = torch.stack([_in_the_middle(images[place], side) for place in places])
            found = decode(*self.maps(batch), self.max_detections)
            for place, boxes, scores, classes in zip(places, *found):
                image, given = images[place], batched_inputs[place]
                results[place] = {
                    "instances": _instances(boxes, scores, classes, image, side, given)
                }
        return results


def _corner(image: torch.Tensor, side: int) -> tuple[int, int]:
    """Where the image's first pixel lies in its square: x, y."""
    height, width = image.shape[-2:]
    return (side - width) // 2, (side - height) // 2


def _in_the_middle(image: torch.Tensor, side: int) -> torch.Tensor:
    (x, y), (height, width) = _corner(image, side), image.shape[-2:]
    return F.pad(image, (x, side - width - x, y, side - height - y))


def _instances(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    classes: torch.Tensor,
    image: torch.Tensor,
    side: int,
    given: dict[str, Any],
) -> Instances:
    height, width = image.shape[-2:]
    found = Instances(
        (height, width),
        pred_boxes=Boxes(boxes - boxes.new_tensor(_corner(image, side) * 2)),
        scores=scores,
        pred_classes=classes,
    )
    return detector_postprocess(found, given.get("height", height), given.get("width", width))
