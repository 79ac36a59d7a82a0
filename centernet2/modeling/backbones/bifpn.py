"""A bidirectional feature pyramid on a backbone, with 2x2 max-pooling."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from detectron2.layers import get_norm
from detectron2.modeling.backbone import Backbone
from torch import nn

from centernet2.errors import UserError

from .bifpn_graph import FIVE_LEVELS, Node, fuse, three_octaves

__all__ = ["BiFPN"]


class BiFPN(Backbone):
    """BiFPN of EfficientDet with five levels: three of the backbone's maps and two coarser ones.

    Each fusion has projections of its own for the backbone's maps. Parameters are named as in
    the published release: ``bottom_up``, ``resample.3`` (p6) and
    ``cell.<layer>.fnode.<node>``.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        out_channels: int,
        norm: str,
        num_levels: int = 5,
        num_bifpn: int = 6,
        separable_conv: bool = False,
    ) -> None:
        """
        Args:
            bottom_up: the network below.
            in_features: three of its maps, each half as large as the one before.
            out_channels: channels of all levels.
            norm: a name that Detectron2's ``get_norm`` knows; "" for none.
            num_levels: 5; there is no other graph of this kind.
            num_bifpn: number of layers; no two share weights.
            separable_conv: split the 3x3 convolutions into depth-wise and point-wise ones.

        Raises:
            UserError: if levels, maps or their strides do not fit together.
        """
        super().__init__()
        if num_levels != 5:
            raise UserError(
                f"MODEL.BIFPN.NUM_LEVELS must be 5 for this backbone, not {num_levels}."
            )
        self.bottom_up = bottom_up
        self.in_features = list(in_features)
        shapes = three_octaves(bottom_up, in_features)
        channels = [shape.channels for shape in shapes]
        first = int(math.log2(shapes[0].stride))

        # Offsets of the two coarser maps; the second has no parameters
        self.resample = nn.ModuleDict(
            {
                "3": _resample(channels[-1], out_channels, -1, norm),
                "4": _resample(out_channels, out_channels, -1, norm),
            }
        )
        channels += [out_channels] * 2
        self.cell = nn.ModuleList()
        for _ in range(num_bifpn):
            self.cell.append(_Layer(channels, out_channels, norm, separable_conv))
            channels = [out_channels] * num_levels

        self._out_features = [f"p{first + i}" for i in range(num_levels)]
        self._out_feature_strides = {name: 2 ** int(name[1:]) for name in self._out_features}
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)

    @property
    def size_divisibility(self) -> int:
        """The coarsest stride: pooling drops no row or column of a padded image."""
        return self._out_feature_strides[self._out_features[-1]]

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """``(B, 3, H, W)``, both sides multiples of the coarsest stride, to the maps by name."""
        features = self.bottom_up(x)
        maps = [features[name] for name in self.in_features]
        for resample in self.resample.values():
            maps.append(resample(maps[-1]))
        for layer in self.cell:
            maps = layer(maps)
        return dict(zip(self._out_features, maps))


class _Layer(nn.Module):
    def __init__(
        self, in_channels: Sequence[int], out_channels: int, norm: str, separable: bool
    ) -> None:
        super().__init__()
        self.num_levels = len(in_channels)
        levels = [*range(self.num_levels), *(node.level for node in FIVE_LEVELS)]
        channels = [*in_channels, *(out_channels for _ in FIVE_LEVELS)]
        self.fnode = nn.ModuleList()
        for node in FIVE_LEVELS:
            conv = _separable_conv_norm if separable else _conv3x3_norm
            parts: OrderedDict[str, nn.Module] = OrderedDict()
            parts["combine"] = _Combine(node, levels, channels, out_channels, norm)
            parts["after_combine"] = nn.Sequential(
                OrderedDict(act=nn.SiLU(), conv=conv(out_channels, norm))
            )
            self.fnode.append(nn.Sequential(parts))

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        maps = list(maps)
        for node in self.fnode:
            maps.append(node(maps))
        return maps[-self.num_levels :]


class _Combine(nn.Module):
    """Brings a node's maps to its level and channels, and fuses them."""

    def __init__(
        self,
        node: Node,
        levels: Sequence[int],
        channels: Sequence[int],
        out_channels: int,
        norm: str,
    ) -> None:
        super().__init__()
        self.resample = nn.ModuleDict(
            {
                str(offset): _resample(
                    channels[offset], out_channels, levels[offset] - node.level, norm
                )
                for offset in node.offsets
            }
        )
        self.edge_weights = nn.Parameter(torch.ones(len(node.offsets)))

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        resampled = [resample(maps[int(offset)]) for offset, resample in self.resample.items()]
        return fuse(resampled, self.edge_weights)


def _resample(in_channels: int, out_channels: int, octaves: int, norm: str) -> nn.Sequential:
    """A projection if the channels differ, then twice or half the size (octaves 1 or -1)."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if in_channels != out_channels:
        parts["conv"] = _with_norm(
            OrderedDict(conv=nn.Conv2d(in_channels, out_channels, 1, bias=not norm)),
            norm,
            out_channels,
        )
    if octaves < 0:
        parts["pool"] = nn.MaxPool2d(2)
    elif octaves > 0:
        parts["up"] = nn.Upsample(scale_factor=2, mode="nearest")
    return nn.Sequential(parts)


def _conv3x3_norm(channels: int, norm: str) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, 3, padding=1, bias=not norm)
    return _with_norm(OrderedDict(conv=conv), norm, channels)


def _separable_conv_norm(channels: int, norm: str) -> nn.Sequential:
    return _with_norm(
        OrderedDict(
            conv_dw=nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            conv_pw=nn.Conv2d(channels, channels, 1, bias=not norm),
        ),
        norm,
        channels,
    )


def _with_norm(convs: OrderedDict[str, nn.Module], norm: str, channels: int) -> nn.Sequential:
    if norm:
        convs["bn"] = get_norm(norm, channels)
    return nn.Sequential(convs)
