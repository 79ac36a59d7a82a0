"""A pyramid that ends in one map of stride 4, narrow enough for phones; on MobileNetV2 or ResNet.

The networks "CenterNet MobileNetV2 FPN" and "CenterNet ResNet V1 FPN" of TensorFlow's Object
Detection API. Its MobileNetV2 pads unevenly and normalises with an epsilon of 1e-3; here it is
torchvision's, so that weights of PyTorch fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone, build_resnet_backbone
from torch import nn

from centernet2.errors import UserError
from centernet2.layers import separable_conv3x3

from .mobilenetv2 import MobileNetV2

__all__ = [
    "Stride4FPN",
    "build_mobilenetv2_stride4_fpn_backbone",
    "build_resnet_stride4_fpn_backbone",
]

# Of Keras, which the pyramid was written in
_NORM_EPSILON = 1e-3
_NORMS = ("BN", "SyncBN", "FrozenBN")
_STRIDES = [4, 8, 16, 32]


class Stride4FPN(Backbone):
    """Maps of strides 32 to 4 joined from coarse to fine; only the finest, ``p2``, comes out.

    At each of the strides 16, 8 and 4 the coarser result is repeated to twice its size and added
    to the network's own map, both of as many channels; a 3x3 convolution to the next finer join's
    channels follows, a normalisation and ReLU.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        *,
        channels: Sequence[int] = (64, 32, 24),
        norm: str = "BN",
        separable_conv: bool = False,
    ) -> None:
        """
        Args:
            bottom_up: the network below.
            in_features: its maps of strides 4, 8, 16 and 32.
            channels: at the joins of strides 16, 8 and 4; the last is that of the result.
            norm: "BN", "SyncBN" or "FrozenBN".
            separable_conv: split the 3x3 convolutions into depth-wise and point-wise ones.

        Raises:
            UserError: if a setting does not fit.
        """
        super().__init__()
        shapes = bottom_up.output_shape()
        strides = [shapes[name].stride for name in in_features if name in shapes]
        if strides != _STRIDES or len(in_features) != len(_STRIDES):
            raise UserError(
                f"MODEL.FPN.IN_FEATURES must name maps of strides {_STRIDES} in this order, not "
                f"{list(in_features)}; the network gives "
                f"{ {name: shape.stride for name, shape in shapes.items()} }."
            )
        if len(channels) != len(_STRIDES) - 1 or min(channels) < 1:
            raise UserError(
                "MODEL.STRIDE4_FPN.CHANNELS must be three numbers, for strides 16, 8 and 4, not "
                f"{list(channels)}."
            )
        if norm not in _NORMS:
            raise UserError(f"MODEL.STRIDE4_FPN.NORM must be one of {list(_NORMS)}, not {norm!r}.")
        self.bottom_up = bottom_up
        self.in_features = list(in_features)
        *finer, coarsest = (shapes[name].channels for name in in_features)
        convolutions = separable_conv3x3 if separable_conv else _conv3x3
        self.top = nn.Conv2d(coarsest, channels[0], 1)
        self.laterals = nn.ModuleList(
            nn.Conv2d(own, joined, 1) for own, joined in zip(reversed(finer), channels)
        )
        self.outputs = nn.ModuleList(
            nn.Sequential(*convolutions(joined, out), _norm(norm, out), nn.ReLU(inplace=True))
            for joined, out in zip(channels, [*channels[1:], channels[-1]])
        )
        for part in (self.top, self.laterals, self.outputs):
            for module in part.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.xavier_uniform_(module.weight)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)

        self._out_features = ["p2"]
        self._out_feature_strides = {"p2": _STRIDES[0]}
        self._out_feature_channels = {"p2": channels[-1]}

    @property
    def size_divisibility(self) -> int:
        """32: repeated maps then meet maps of their own size."""
        return _STRIDES[-1]

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """``(B, 3, H, W)``, both sides multiples of 32, to ``p2``: ``(B, C, H / 4, W / 4)``."""
        features = self.bottom_up(x)
        *finer, coarsest = (features[name] for name in self.in_features)
        x = self.top(coarsest)
        for feature, lateral, output in zip(reversed(finer), self.laterals, self.outputs):
            x = output(lateral(feature) + F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return {"p2": x}


def _conv3x3(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1))


def _norm(name: str, channels: int) -> nn.Module:
    norm = get_norm(name, channels)
    norm.eps = _NORM_EPSILON
    return norm


def _on(cfg: Any, bottom_up: Backbone) -> Stride4FPN:
    c = cfg.MODEL.STRIDE4_FPN
    return Stride4FPN(
        bottom_up,
        cfg.MODEL.FPN.IN_FEATURES,
        channels=c.CHANNELS,
        norm=c.NORM,
        separable_conv=c.SEPARABLE_CONV,
    )


@BACKBONE_REGISTRY.register()
def build_mobilenetv2_stride4_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> Stride4FPN:
    """MobileNetV2 below: ``MODEL.FPN.IN_FEATURES`` is to be res2, res3, res4a, last."""
    c = cfg.MODEL.MOBILENETV2
    bottom_up = MobileNetV2(
        cfg.MODEL.FPN.IN_FEATURES,
        width_mult=c.WIDTH_MULT,
        norm=c.NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )
    return _on(cfg, bottom_up)


@BACKBONE_REGISTRY.register()
def build_resnet_stride4_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> Stride4FPN:
    """Detectron2's ResNet below: ``MODEL.RESNETS.OUT_FEATURES`` and ``MODEL.FPN.IN_FEATURES`` are
    to be res2 to res5, ``MODEL.STRIDE4_FPN.CHANNELS`` 256, 128 and 64.
    """
    return _on(cfg, build_resnet_backbone(cfg, input_shape))
