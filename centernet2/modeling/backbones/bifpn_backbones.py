"""DLA and ResNet with bidirectional pyramids, registered by their published names."""

from __future__ import annotations

from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone, build_resnet_backbone

from centernet2.errors import UserError

from .bifpn import BiFPN
from .dla import dla_below
from .fcos_bifpn import FcosBiFPN

__all__ = [
    "bifpn",
    "build_fcos_resnet_bifpn_backbone",
    "build_p35_fcos_dla_bifpn_backbone",
    "build_p35_fcos_resnet_bifpn_backbone",
    "build_p37_dla_bifpn_backbone",
    "build_p37_fcos_dla_bifpn_backbone",
    "build_resnet_bifpn_backbone",
    "fcos_bifpn",
]


def bifpn(cfg: Any, bottom_up: Backbone) -> BiFPN:
    """A :class:`BiFPN` with the settings of ``MODEL.BIFPN`` on ``MODEL.FPN.IN_FEATURES``."""
    c = cfg.MODEL.BIFPN
    return BiFPN(
        bottom_up,
        cfg.MODEL.FPN.IN_FEATURES,
        c.OUT_CHANNELS,
        c.NORM,
        num_levels=c.NUM_LEVELS,
        num_bifpn=c.NUM_BIFPN,
        separable_conv=c.SEPARABLE_CONV,
    )


def fcos_bifpn(cfg: Any, bottom_up: Backbone, num_levels: int) -> FcosBiFPN:
    """A :class:`FcosBiFPN` with the settings of ``MODEL.BIFPN`` on ``MODEL.FPN.IN_FEATURES``.

    Raises:
        UserError: if five levels are built and ``MODEL.BIFPN.NUM_LEVELS`` says otherwise.
    """
    c = cfg.MODEL.BIFPN
    if num_levels == 5 and c.NUM_LEVELS != 5:
        raise UserError(
            f"MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME} has five levels: "
            f"set MODEL.BIFPN.NUM_LEVELS to 5, not {c.NUM_LEVELS}."
        )
    return FcosBiFPN(
        bottom_up,
        cfg.MODEL.FPN.IN_FEATURES,
        c.OUT_CHANNELS,
        c.NORM,
        num_levels=num_levels,
        num_bifpn=c.NUM_BIFPN,
    )


@BACKBONE_REGISTRY.register()
def build_p37_dla_bifpn_backbone(cfg: Any, input_shape: ShapeSpec) -> BiFPN:
    """DLA with P3-P7, non-overlapping pooling."""
    return bifpn(cfg, dla_below(cfg))


@BACKBONE_REGISTRY.register()
def build_p37_fcos_dla_bifpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FcosBiFPN:
    """DLA with P3-P7, overlapping pooling."""
    return fcos_bifpn(cfg, dla_below(cfg), num_levels=5)


@BACKBONE_REGISTRY.register()
def build_p35_fcos_dla_bifpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FcosBiFPN:
    """DLA with P3-P5, overlapping pooling; ``MODEL.BIFPN.NUM_LEVELS`` is not read."""
    return fcos_bifpn(cfg, dla_below(cfg), num_levels=3)


@BACKBONE_REGISTRY.register()
def build_resnet_bifpn_backbone(cfg: Any, input_shape: ShapeSpec) -> BiFPN:
    """ResNet with P3-P7, non-overlapping pooling."""
    return bifpn(cfg, build_resnet_backbone(cfg, input_shape))


@BACKBONE_REGISTRY.register()
def build_fcos_resnet_bifpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FcosBiFPN:
    """ResNet with P3-P7, overlapping pooling."""
    return fcos_bifpn(cfg, build_resnet_backbone(cfg, input_shape), num_levels=5)


@BACKBONE_REGISTRY.register()
def build_p35_fcos_resnet_bifpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FcosBiFPN:
    """ResNet with P3-P5, overlapping pooling; ``MODEL.BIFPN.NUM_LEVELS`` is not read."""
    return fcos_bifpn(cfg, build_resnet_backbone(cfg, input_shape), num_levels=3)
