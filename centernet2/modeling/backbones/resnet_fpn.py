"""ResNet with feature pyramids P3-P7 and P3-P5."""

from __future__ import annotations

from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, Backbone, build_resnet_backbone
from detectron2.modeling.backbone.fpn import LastLevelP6P7

__all__ = [
    "build_p35_resnet_fpn_backbone",
    "build_p67_resnet_fpn_backbone",
    "pyramid",
]


def pyramid(cfg: Any, bottom_up: Backbone, *, extra_levels: bool) -> FPN:
    """An FPN on three maps of strides 8, 16 and 32.

    Args:
        cfg: reads ``MODEL.FPN.{IN_FEATURES, OUT_CHANNELS, NORM, FUSE_TYPE}``.
        bottom_up: the network below.
        extra_levels: add P6 and P7, convolved from the FPN's P5 (not from the backbone).
    """
    channels = cfg.MODEL.FPN.OUT_CHANNELS
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=channels,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelP6P7(channels, channels, in_feature="p5") if extra_levels else None,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


@BACKBONE_REGISTRY.register()
def build_p67_resnet_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """ResNet with P3-P7; the backbone of CenterNet2 in the report."""
    return pyramid(cfg, build_resnet_backbone(cfg, input_shape), extra_levels=True)


@BACKBONE_REGISTRY.register()
def build_p35_resnet_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """ResNet with P3-P5."""
    return pyramid(cfg, build_resnet_backbone(cfg, input_shape), extra_levels=False)
