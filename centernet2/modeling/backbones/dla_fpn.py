"""Feature pyramids of Detectron2 on DLA."""

from __future__ import annotations

from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN
from detectron2.modeling.backbone.fpn import LastLevelP6P7

from .dla import DLA, dla_below
from .resnet_fpn import pyramid

__all__ = [
    "build_dla_fpn3_backbone",
    "build_dla_fpn5_backbone",
    "build_retinanet_dla_fpn_backbone",
]


@BACKBONE_REGISTRY.register()
def build_dla_fpn3_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """DLA with P3-P5."""
    return pyramid(cfg, dla_below(cfg), extra_levels=False)


@BACKBONE_REGISTRY.register()
def build_dla_fpn5_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """DLA with P3-P7; P6 is convolved from the network's last map, not from P5."""
    return _five_levels(cfg, dla_below(cfg))


@BACKBONE_REGISTRY.register()
def build_retinanet_dla_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """Another published name of ``build_dla_fpn5_backbone``."""
    return _five_levels(cfg, dla_below(cfg))


def _five_levels(cfg: Any, bottom_up: DLA) -> FPN:
    c = cfg.MODEL.FPN
    last = c.IN_FEATURES[-1]
    in_channels = bottom_up.output_shape()[last].channels
    return FPN(
        bottom_up=bottom_up,
        in_features=c.IN_FEATURES,
        out_channels=c.OUT_CHANNELS,
        norm=c.NORM,
        top_block=LastLevelP6P7(in_channels, c.OUT_CHANNELS, in_feature=last),
        fuse_type=c.FUSE_TYPE,
    )
