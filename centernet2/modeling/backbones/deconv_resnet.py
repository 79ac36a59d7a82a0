"""ResNet with transposed convolutions up to stride 4 (Xiao et al. 2018; Zhou et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from detectron2.layers import ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from torch import nn
from torchvision.models import resnet

from centernet2.errors import UserError
from centernet2.layers import ModulatedDeformConv

from .dla_up import bilinear_kernel

__all__ = ["DeconvResNet", "build_deconv_resnet_backbone"]

_DEPTHS = (18, 34, 50, 101, 152)
_DOUBLINGS = 3


class DeconvResNet(Backbone):
    """torchvision's ResNet, its last map brought from stride 32 to 4; only ``p2`` comes out.

    Each of three doublings is a transposed 4x4 convolution, in front of it a modulated deformable
    3x3 one unless ``deformable`` is off; a normalisation and ReLU follow both. Parameters are
    named as in the published checkpoints, and as in torchvision's ImageNet weights, but for the
    inside of the deformable convolutions (:mod:`centernet2.engine.published_names`).
    """

    def __init__(
        self,
        depth: int = 18,
        *,
        channels: Sequence[int] = (256, 128, 64),
        deformable: bool = True,
        norm: str = "BN",
    ) -> None:
        """
        Args:
            depth: layers of the ResNet: 18, 34, 50, 101 or 152.
            channels: after each doubling.
            deformable: put deformable convolutions in front of the transposed ones.
            norm: a name that Detectron2's ``get_norm`` knows.

        Raises:
            UserError: if these do not make a network.
        """
        super().__init__()
        if depth not in _DEPTHS:
            raise UserError(f"MODEL.RESNETS.DEPTH must be in {list(_DEPTHS)}, not {depth}.")
        if len(channels) != _DOUBLINGS or min(channels) < 1:
            raise UserError(
                f"MODEL.DECONV.CHANNELS must be {_DOUBLINGS} numbers, not {list(channels)}."
            )
        if not norm:
            raise UserError('MODEL.RESNETS.NORM is empty; choose a normalisation such as "BN".')
        network = getattr(resnet, f"resnet{depth}")(norm_layer=partial(get_norm, norm))
        width = network.fc.in_features
        for name, module in network.named_children():
            if name not in ("avgpool", "fc"):
                self.add_module(name, module)
        layers: list[nn.Module] = []
        for before, after in zip([width, *channels], channels):
            if deformable:
                convolution = ModulatedDeformConv(before, after, bias=True)
                convolution.reset_uniformly()
                layers += [convolution, get_norm(norm, after), nn.ReLU(inplace=True)]
            doubling = nn.ConvTranspose2d(
                after if deformable else before, after, 4, stride=2, padding=1, bias=False
            )
            _initialise(doubling, bilinear=deformable)
            layers += [doubling, get_norm(norm, after), nn.ReLU(inplace=True)]
        self.deconv_layers = nn.Sequential(*layers)

        self._out_features = ["p2"]
        self._out_feature_strides = {"p2": 4}
        self._out_feature_channels = {"p2": channels[-1]}

    @property
    def size_divisibility(self) -> int:
        """32: the map then has a quarter of the image's size."""
        return 32

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """``(B, 3, H, W)``, both sides multiples of 32, to ``p2``: ``(B, C, H / 4, W / 4)``."""
        for module in self.children():
            x = module(x)
        return {"p2": x}


def _initialise(convolution: nn.ConvTranspose2d, *, bilinear: bool) -> None:
    """First weights as published.

    The bilinear kernel was written for a convolution of one channel at a time. Here it reaches the
    first output alone, from every input; the other outputs keep PyTorch's default.
    """
    with torch.no_grad():
        if bilinear:
            convolution.weight[:, 0] = bilinear_kernel(2)
        else:
            nn.init.normal_(convolution.weight, std=0.001)


@BACKBONE_REGISTRY.register()
def build_deconv_resnet_backbone(cfg: Any, input_shape: ShapeSpec) -> DeconvResNet:
    """ResNet up-sampled to stride 4: ``MODEL.RESNETS.{DEPTH, NORM}`` and ``MODEL.DECONV``."""
    c = cfg.MODEL.DECONV
    return DeconvResNet(
        cfg.MODEL.RESNETS.DEPTH,
        channels=c.CHANNELS,
        deformable=c.DEFORMABLE,
        norm=cfg.MODEL.RESNETS.NORM,
    )
