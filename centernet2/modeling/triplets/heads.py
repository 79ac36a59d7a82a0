"""Corner and centre branches with their pooling, and the outputs behind them, for each stack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.layers import get_norm
from torch import nn

from ..backbones.hourglass import ConvNormRelu
from .maps import TripletMaps
from .pooling import bottom_pool, column_max, left_pool, right_pool, row_max, top_pool

__all__ = ["TripletHeads"]

_Pool = Callable[[torch.Tensor], torch.Tensor]
# sigmoid(-2.19) = 0.1: initial probability of a keypoint at a cell
_HEAT_BIAS = -2.19


class TripletHeads(nn.Module):
    """A complete set of heads for each stack; parameters are named as in the published files."""

    @configurable
    def __init__(
        self,
        *,
        num_stacks: int,
        in_channels: int,
        num_classes: int = 80,
        pool_channels: int = 128,
        cascade: bool = True,
        centers: bool = True,
        center_pooling: bool = True,
        norm: str = "BN",
    ) -> None:
        """
        Args:
            num_stacks: number of hourglasses.
            in_channels: of their maps, and of all branches.
            num_classes: channels of the heatmaps.
            pool_channels: channels in front of the pooling.
            cascade: cascade corner pooling rather than corner pooling.
            centers: predict centres too.
            center_pooling: center pooling in their branch, or its convolutions alone.
            norm: a name that Detectron2's ``get_norm`` knows.
        """
        super().__init__()
        corner = _CascadeCornerBranch if cascade else _PooledBranch

        def branches(kind: type[_PooledBranch], first: _Pool, second: _Pool) -> nn.ModuleList:
            return nn.ModuleList(
                kind(in_channels, pool_channels, norm, first, second) for _ in range(num_stacks)
            )

        def outputs(channels: int) -> nn.ModuleList:
            return nn.ModuleList(_output(in_channels, channels) for _ in range(num_stacks))

        self.tl_cnvs = branches(corner, top_pool, left_pool)
        self.br_cnvs = branches(corner, bottom_pool, right_pool)
        self.tl_heats, self.br_heats = outputs(num_classes), outputs(num_classes)
        self.tl_tags, self.br_tags = outputs(1), outputs(1)
        self.tl_regrs, self.br_regrs = outputs(2), outputs(2)
        heats = [*self.tl_heats, *self.br_heats]
        self.centers = centers
        if centers:
            pools = (column_max, row_max) if center_pooling else (_no_pool, _no_pool)
            self.ct_cnvs = branches(_PooledBranch, *pools)
            self.ct_heats, self.ct_regrs = outputs(num_classes), outputs(2)
            heats += self.ct_heats
        for heat in heats:
            nn.init.constant_(heat[-1].bias, _HEAT_BIAS)

    @classmethod
    def from_config(cls, cfg: Any, num_stacks: int, in_channels: int) -> dict[str, Any]:
        c = cfg.MODEL.TRIPLETS
        return {
            "num_stacks": num_stacks,
            "in_channels": in_channels,
            "num_classes": c.NUM_CLASSES,
            "pool_channels": c.POOL_CHANNELS,
            "cascade": c.CASCADE_POOLING,
            "centers": c.CENTRAL_REGION,
            "center_pooling": c.CENTER_POOLING,
            "norm": cfg.MODEL.HOURGLASS.NORM,
        }

    def forward(self, feature: torch.Tensor, stack: int) -> TripletMaps:
        """
        Args:
            feature: ``(N, in_channels, H, W)``, the map of one stack.
            stack: its number, from 0.
        """
        tl, br = self.tl_cnvs[stack](feature), self.br_cnvs[stack](feature)
        ct = self.ct_cnvs[stack](feature) if self.centers else None
        return TripletMaps(
            tl_heat=self.tl_heats[stack](tl),
            br_heat=self.br_heats[stack](br),
            tl_tag=self.tl_tags[stack](tl),
            br_tag=self.br_tags[stack](br),
            tl_offset=self.tl_regrs[stack](tl),
            br_offset=self.br_regrs[stack](br),
            ct_heat=None if ct is None else self.ct_heats[stack](ct),
            ct_offset=None if ct is None else self.ct_regrs[stack](ct),
        )


class _PooledBranch(nn.Module):
    """Two poolings of convolved maps, summed and joined to the input.

    Corner pooling with the two scans towards a corner, center pooling with both whole lines.
    """

    def __init__(
        self, channels: int, pool_channels: int, norm: str, first: _Pool, second: _Pool
    ) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.p1_conv1 = ConvNormRelu(channels, pool_channels, 3, norm=norm)
        self.p2_conv1 = ConvNormRelu(channels, pool_channels, 3, norm=norm)
        self.p_conv1 = _conv3x3(pool_channels, channels)
        self.p_bn1 = get_norm(norm, channels)
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1 = get_norm(norm, channels)
        self.conv2 = ConvNormRelu(channels, channels, 3, norm=norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.p_bn1(self.p_conv1(self.pooled(x)))
        return self.conv2(F.relu(pooled + self.bn1(self.conv1(x)), inplace=True))

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(self.p1_conv1(x)) + self.second(self.p2_conv1(x))


class _CascadeCornerBranch(_PooledBranch):
    """Cascade corner pooling: the scan along one side has looked inside the object before."""

    def __init__(
        self, channels: int, pool_channels: int, norm: str, first: _Pool, second: _Pool
    ) -> None:
        super().__init__(channels, pool_channels, norm, first, second)
        self.look_conv1 = ConvNormRelu(channels, pool_channels, 3, norm=norm)
        self.look_conv2 = ConvNormRelu(channels, pool_channels, 3, norm=norm)
        # The published ones have neither normalisation nor ReLU
        self.P1_look_conv = _conv3x3(pool_channels, pool_channels)
        self.P2_look_conv = _conv3x3(pool_channels, pool_channels)

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        inside1 = self.P1_look_conv(self.p1_conv1(x) + self.second(self.look_conv1(x)))
        inside2 = self.P2_look_conv(self.p2_conv1(x) + self.first(self.look_conv2(x)))
        return self.first(inside1) + self.second(inside2)


def _no_pool(x: torch.Tensor) -> torch.Tensor:
    return x


def _conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)


def _output(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        ConvNormRelu(in_channels, in_channels, 3), nn.Conv2d(in_channels, out_channels, 1)
    )
