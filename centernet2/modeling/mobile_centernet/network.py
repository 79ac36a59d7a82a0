"""From pixels to a heatmap a class and the distances to a box's sides."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from torch import nn
from torchvision.ops import SqueezeExcitation

from centernet2.modeling.backbones.mobilenetv3 import MobileNetV3, Separable

__all__ = ["CenterHead", "MobileNetV3UNet", "build_mobilenetv3_unet_backbone"]

_SQUEEZED = 32
_DISTANCE_SCALE = 16.0  # pixels of the input for 1 of the network


class MobileNetV3UNet(Backbone):
    """The neck's finest map, each channel weighed by what the whole map holds."""

    def __init__(self, freeze_at: int = 0) -> None:
        """
        Args:
            freeze_at: of :class:`MobileNetV3`.
        """
        super().__init__()
        self.bottom_up = MobileNetV3(("n2",), freeze_at=freeze_at)
        channels = self.bottom_up.output_shape()["n2"].channels
        self.squeeze = SqueezeExcitation(channels, _SQUEEZED, scale_activation=nn.Sigmoid)
        # The weights have no bias there
        self.squeeze.fc2 = nn.Conv2d(_SQUEEZED, channels, 1, bias=False)
        self._out_features = ["n2"]
        self._out_feature_strides = {"n2": 4}
        self._out_feature_channels = {"n2": channels}

    @property
    def size_divisibility(self) -> int:
        """Sides of images have to be multiples of this."""
        return self.bottom_up.size_divisibility

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """``(B, 3, H, W)``, sides multiples of 32, to ``n2`` ``(B, 128, H / 4, W / 4)``."""
        return {"n2": self.squeeze(self.bottom_up(x)["n2"])}


@BACKBONE_REGISTRY.register()
def build_mobilenetv3_unet_backbone(cfg: Any, input_shape: ShapeSpec) -> MobileNetV3UNet:
    """The backbone of :class:`MobileCenterNet`."""
    return MobileNetV3UNet(cfg.MODEL.BACKBONE.FREEZE_AT)


class CenterHead(nn.Module):
    """A separable convolution for the heatmaps, another for the distances."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        """
        Args:
            in_channels: of the map.
            num_classes: number of heatmaps.
        """
        super().__init__()
        self.heatmap = Separable(in_channels, num_classes, 3, scaled=False)
        self.distances = Separable(in_channels, 4, 3, scaled=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Read the map.

        Args:
            x: ``(B, in_channels, h, w)``.

        Returns:
            Scores ``(B, num_classes, h, w)``, 0 to 1, and distances ``(B, 4, h, w)`` from a cell to
            the left, top, right and bottom side, in pixels of the input.
        """
        return self.heatmap(x).sigmoid(), self.distances(x) * _DISTANCE_SCALE
