"""DLA with deformable up-sampling to stride 4, as Objects as Points has it."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY

from centernet2.layers import ModulatedDeformConv

from .dla_up import UpsampledDLA

__all__ = ["Stride4DLA", "build_stride4_dla_backbone"]


class Stride4DLA(UpsampledDLA):
    """The network of CenterNet-S4 with one map, ``p2``, and the first weights of 2019."""

    def __init__(self, num_layers: int = 34, *, norm: str = "BN") -> None:
        """
        Args:
            num_layers: 34 or 60.
            norm: a name that Detectron2's ``get_norm`` knows.
        """
        super().__init__(num_layers, norm=norm)
        for module in self.modules():
            if isinstance(module, ModulatedDeformConv):
                module.reset_uniformly()

    def output_shape(self) -> dict[str, ShapeSpec]:
        """``p2`` of stride 4."""
        return {"p2": super().output_shape()["dla2"]}

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """``(B, 3, H, W)``, both sides multiples of 32, to ``p2``: ``(B, C, H / 4, W / 4)``."""
        return {"p2": super().forward(x)["dla2"]}


@BACKBONE_REGISTRY.register()
def build_stride4_dla_backbone(cfg: Any, input_shape: ShapeSpec) -> Stride4DLA:
    """DLA up-sampled to stride 4: ``MODEL.DLA.{NUM_LAYERS, NORM}``."""
    return Stride4DLA(cfg.MODEL.DLA.NUM_LAYERS, norm=cfg.MODEL.DLA.NORM)
