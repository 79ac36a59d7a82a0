"""Res2Net (Gao et al., TPAMI 2021) of scale 4, alone and with feature pyramids P3-P7."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from detectron2.layers import CNNBlockBase, Conv2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, ResNet
from fvcore.nn.weight_init import c2_msra_fill
from torch import nn

from centernet2.errors import UserError
from centernet2.layers import DeformConv, split_offsets

from .bifpn import BiFPN
from .resnet_fpn import pyramid

__all__ = [
    "Res2NetBlock",
    "Res2NetStem",
    "build_p67_res2net_fpn_backbone",
    "build_res2net_backbone",
    "build_res2net_bifpn_backbone",
]

SCALE = 4  # groups of channels that a block's 3x3 convolutions work on one after the other
BLOCKS_PER_STAGE = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class Res2NetStem(CNNBlockBase):
    """Three 3x3 convolutions and a max-pooling: stride 4."""

    def __init__(self, in_channels: int = 3, out_channels: int = 64, norm: str = "BN") -> None:
        """
        Args:
            in_channels, out_channels: channels before and after; in between, half of the latter.
            norm: a name that Detectron2's ``get_norm`` knows.
        """
        super().__init__(in_channels, out_channels, 4)
        half = out_channels // 2
        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, half, 3, stride=2, padding=1, bias=False),
            _norm(norm, half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, half, 3, padding=1, bias=False),
            _norm(norm, half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, out_channels, 3, padding=1, bias=False),
        )
        self.bn1 = _norm(norm, out_channels)
        for module in self.conv1:
            if isinstance(module, nn.Conv2d):
                c2_msra_fill(module)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, in_channels, H, W)`` to ``(B, out_channels, ceil(H/4), ceil(W/4))``."""
        x = F.relu_(self.bn1(self.conv1(x)))
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


class Res2NetBlock(CNNBlockBase):
    """1x1 convolution, 3x3 convolutions of the first three of four groups, 1x1 convolution.

    Each 3x3 convolution gets its group plus the result of the one before; but its group alone in a
    block that changes the number of channels (the first of a stage), as the published models have
    it. The fourth group is passed on as it is, except that it is average-pooled where the 3x3
    convolutions have a stride.

    A deformable block predicts the offsets of each 3x3 convolution from that convolution's own
    input.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: str = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
        deform: bool = False,
        deform_modulated: bool = False,
        deform_num_groups: int = 1,
    ) -> None:
        """
        Args:
            in_channels, out_channels: channels before and after.
            bottleneck_channels: channels of all four groups together.
            stride: 1 or 2.
            num_groups: groups of each 3x3 convolution.
            norm: a name that Detectron2's ``get_norm`` knows.
            stride_in_1x1: the first 1x1 convolution has the stride, not the 3x3 convolutions.
            dilation: of the 3x3 convolutions.
            deform: make the 3x3 convolutions deformable,
            deform_modulated: with a mask,
            deform_num_groups: and with offsets for so many groups of channels.
        """
        super().__init__(in_channels, out_channels, stride)
        width = bottleneck_channels // SCALE
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.deform_modulated = deform_modulated
        self.shortcut = (
            _shortcut(in_channels, out_channels, stride, norm)
            if in_channels != out_channels
            else None
        )
        self.conv1 = Conv2d(
            in_channels,
            bottleneck_channels,
            kernel_size=1,
            stride=stride_1x1,
            bias=False,
            norm=get_norm(norm, bottleneck_channels),
        )
        geometry: dict[str, Any] = {
            "stride": stride_3x3,
            "padding": dilation,
            "dilation": dilation,
            "bias": False,
        }
        self.conv2_offsets: nn.ModuleList | None = None
        if deform:
            outputs = (27 if deform_modulated else 18) * deform_num_groups
            self.conv2_offsets = nn.ModuleList(
                nn.Conv2d(width, outputs, 3, **geometry) for _ in range(SCALE - 1)
            )
            for offsets in self.conv2_offsets:
                nn.init.zeros_(offsets.weight)  # type: ignore[arg-type]
            geometry["deformable_groups"] = deform_num_groups
        convolution = DeformConv if deform else nn.Conv2d
        self.convs = nn.ModuleList(
            convolution(width, width, 3, groups=num_groups, **geometry) for _ in range(SCALE - 1)
        )
        self.bns = nn.ModuleList(_norm(norm, width) for _ in range(SCALE - 1))
        self.pool = nn.AvgPool2d(3, stride_3x3, padding=1) if stride_3x3 > 1 else nn.Identity()
        self.conv3 = Conv2d(
            bottleneck_channels,
            out_channels,
            kernel_size=1,
            bias=False,
            norm=get_norm(norm, out_channels),
        )
        for layer in (self.conv1, *self.convs, self.conv3):
            c2_msra_fill(layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, in_channels, H, W)`` to ``(B, out_channels, ceil(H/stride), ceil(W/stride))``."""
        groups = F.relu_(self.conv1(x)).chunk(SCALE, dim=1)
        results: list[torch.Tensor] = []
        for i, group in enumerate(groups[:-1]):
            alone = i == 0 or self.shortcut is not None
            z = group if alone else results[-1] + group
            results.append(F.relu_(self.bns[i](self._convolve(i, z))))
        results.append(self.pool(groups[-1]))
        out = self.conv3(torch.cat(results, dim=1))
        out += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(out)

    def _convolve(self, i: int, z: torch.Tensor) -> torch.Tensor:
        if self.conv2_offsets is None:
            return self.convs[i](z)
        prediction = self.conv2_offsets[i](z)
        if self.deform_modulated:
            return self.convs[i](z, *split_offsets(prediction))
        return self.convs[i](z, prediction)


def _shortcut(in_channels: int, out_channels: int, stride: int, norm: str) -> nn.Sequential:
    convolution = Conv2d(
        in_channels, out_channels, kernel_size=1, bias=False, norm=get_norm(norm, out_channels)
    )
    c2_msra_fill(convolution)
    return nn.Sequential(nn.AvgPool2d(stride, stride, ceil_mode=True), convolution)


def _norm(norm: str, channels: int) -> nn.Module:
    return get_norm(norm, channels) or nn.Identity()


@BACKBONE_REGISTRY.register()
def build_res2net_backbone(cfg: Any, input_shape: ShapeSpec) -> ResNet:
    """Res2Net alone, from Detectron2's ``MODEL.RESNETS`` keys.

    ``WIDTH_PER_GROUP`` is the width of one of the four groups in the first stage (26 in "26w4s").

    Raises:
        UserError: if ``DEPTH`` is not 50, 101 or 152.
    """
    c = cfg.MODEL.RESNETS
    if c.DEPTH not in BLOCKS_PER_STAGE:
        raise UserError(
            f"MODEL.RESNETS.DEPTH is {c.DEPTH}; of Res2Net there are {list(BLOCKS_PER_STAGE)}."
        )
    in_channels, out_channels = c.STEM_OUT_CHANNELS, c.RES2_OUT_CHANNELS
    bottleneck_channels = c.NUM_GROUPS * c.WIDTH_PER_GROUP * SCALE
    stages = []
    for i, num_blocks in enumerate(BLOCKS_PER_STAGE[c.DEPTH]):
        dilation = c.RES5_DILATION if i == 3 else 1
        stride = 1 if i == 0 or dilation > 1 else 2
        stages.append(
            ResNet.make_stage(
                Res2NetBlock,
                num_blocks,
                in_channels=in_channels,
                out_channels=out_channels,
                bottleneck_channels=bottleneck_channels,
                stride_per_block=[stride] + [1] * (num_blocks - 1),
                num_groups=c.NUM_GROUPS,
                norm=c.NORM,
                stride_in_1x1=c.STRIDE_IN_1X1,
                dilation=dilation,
                deform=c.DEFORM_ON_PER_STAGE[i],
                deform_modulated=c.DEFORM_MODULATED,
                deform_num_groups=c.DEFORM_NUM_GROUPS,
            )
        )
        in_channels, out_channels = out_channels, 2 * out_channels
        bottleneck_channels *= 2
    stem = Res2NetStem(input_shape.channels, c.STEM_OUT_CHANNELS, c.NORM)
    return ResNet(stem, stages, out_features=c.OUT_FEATURES, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)


@BACKBONE_REGISTRY.register()
def build_p67_res2net_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """Res2Net with P3-P7."""
    return pyramid(cfg, build_res2net_backbone(cfg, input_shape), extra_levels=True)


@BACKBONE_REGISTRY.register()
def build_res2net_bifpn_backbone(cfg: Any, input_shape: ShapeSpec) -> BiFPN:
    """Res2Net with a BiFPN of five levels, P3-P7; reads ``MODEL.BIFPN`` as well."""
    c = cfg.MODEL.BIFPN
    return BiFPN(
        build_res2net_backbone(cfg, input_shape),
        cfg.MODEL.FPN.IN_FEATURES,
        c.OUT_CHANNELS,
        c.NORM,
        num_levels=c.NUM_LEVELS,
        num_bifpn=c.NUM_BIFPN,
        separable_conv=c.SEPARABLE_CONV,
    )
