"""MobileNetV2 (torchvision's) as a Detectron2 backbone, alone or with a pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from torchvision.models.mobilenetv2 import MobileNetV2 as TorchvisionMobileNetV2

from centernet2.errors import UserError

from .resnet_fpn import pyramid

__all__ = [
    "MobileNetV2",
    "build_mobilenetv2_backbone",
    "build_mobilenetv2_fpn_backbone",
    "build_p67_mobilenetv2_fpn_backbone",
]

# Last block of each stage in torchvision's `features`. Stride 16 has two, of 64 and 96 channels at
# full width; "last" is the 1x1 convolution to 1280 channels in front of the classifier.
STAGE_ENDS = {"res2": 3, "res3": 6, "res4a": 10, "res4": 13, "res5": 17, "last": 18}
STRIDES = {"res2": 4, "res3": 8, "res4a": 16, "res4": 16, "res5": 32, "last": 32}


class MobileNetV2(Backbone):
    """The convolutions of MobileNetV2 up to stride 32; the last 1x1 only where it is asked for.

    Parameters are named as torchvision's, ``features.<i>...``, so ImageNet weights load.
    Feature maps are called ``res2`` (stride 4) to ``res5`` (stride 32), as in ResNet. There are
    also ``res4a``, the end of the narrower half of stride 16, and ``last``, the 1x1.
    """

    def __init__(
        self,
        out_features: Sequence[str] = ("res3", "res4", "res5"),
        *,
        width_mult: float = 1.0,
        norm: str = "BN",
        freeze_at: int = 0,
    ) -> None:
        """
        Args:
            out_features: names of the maps to return.
            width_mult: width multiplier.
            norm: a name that Detectron2's ``get_norm`` knows.
            freeze_at: 1 freezes the stem, 2 also the blocks up to ``res2``, ... (as in ResNet).

        Raises:
            UserError: if an output is unknown.
        """
        super().__init__()
        unknown = [name for name in out_features if name not in STAGE_ENDS]
        if unknown:
            raise UserError(
                f"MobileNetV2 has no feature maps {unknown}; there are {[*STAGE_ENDS]}."
            )
        network = TorchvisionMobileNetV2(width_mult=width_mult, norm_layer=partial(get_norm, norm))
        end = "last" if "last" in out_features else "res5"
        self.features = network.features[: STAGE_ENDS[end] + 1]
        self._out_features = list(out_features)
        self._out_feature_strides = {n: STRIDES[n] for n in out_features}
        self._out_feature_channels = {
            n: self.features[STAGE_ENDS[n]].out_channels for n in out_features
        }
        self._freeze(freeze_at)

    def _freeze(self, freeze_at: int) -> None:
        if freeze_at <= 0:
            return
        stage = f"res{freeze_at}"
        last = 0 if freeze_at == 1 else STAGE_ENDS[stage]
        for i in range(last + 1):
            for parameter in self.features[i].parameters():
                parameter.requires_grad = False
            self.features[i] = FrozenBatchNorm2d.convert_frozen_batchnorm(self.features[i])

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """``(B, 3, H, W)`` to the maps by name."""
        outputs = {}
        ends = {index: name for name, index in STAGE_ENDS.items()}
        for i, block in enumerate(self.features):
            x = block(x)
            if ends.get(i) in self._out_features:
                outputs[ends[i]] = x
        return outputs


@BACKBONE_REGISTRY.register()
def build_mobilenetv2_backbone(cfg: Any, input_shape: ShapeSpec) -> MobileNetV2:
    """MobileNetV2 alone."""
    c = cfg.MODEL.MOBILENETV2
    return MobileNetV2(
        c.OUT_FEATURES,
        width_mult=c.WIDTH_MULT,
        norm=c.NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


@BACKBONE_REGISTRY.register()
def build_p67_mobilenetv2_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """MobileNetV2 with P3-P7."""
    return pyramid(cfg, build_mobilenetv2_backbone(cfg, input_shape), extra_levels=True)


@BACKBONE_REGISTRY.register()
def build_mobilenetv2_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """MobileNetV2 with P2-P6, as Detectron2's ``build_resnet_fpn_backbone``: P6 is pooled P5.

    ``MODEL.MOBILENETV2.OUT_FEATURES`` and ``MODEL.FPN.IN_FEATURES`` are to be res2 to res5.
    """
    return FPN(
        bottom_up=build_mobilenetv2_backbone(cfg, input_shape),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
