"""A bidirectional feature pyramid on a backbone, with overlapping (3x3) max-pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d, get_norm
from detectron2.modeling.backbone import Backbone
from torch import nn

from centernet2.errors import UserError

from .bifpn_graph import FIVE_LEVELS, THREE_LEVELS, Node, fuse, three_octaves

__all__ = ["FcosBiFPN"]


class FcosBiFPN(Backbone):
    """BiFPN with five levels, or with the backbone's own three.

    Fusions on the same level share the projection of a backbone's map. Parameters are named as in
    the published release: ``bottom_up.backbone``, ``bottom_up.<p6's name below>.reduction`` and
    ``repeated_bifpn.<layer>.{lateral,weights,outputs}_...``.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        out_channels: int,
        norm: str,
        num_levels: int = 5,
        num_bifpn: int = 6,
    ) -> None:
        """
        Args:
            bottom_up: the network below.
            in_features: three of its maps, each half as large as the one before.
            out_channels: channels of all levels.
            norm: a name that Detectron2's ``get_norm`` knows; "" for none.
            num_levels: 5 or 3.
            num_bifpn: number of layers; no two share weights.

        Raises:
            UserError: if levels, maps or their strides do not fit together.
        """
        super().__init__()
        if num_levels not in (3, 5):
            raise UserError(f"MODEL.BIFPN.NUM_LEVELS must be 3 or 5, not {num_levels}.")
        shapes = three_octaves(bottom_up, in_features)
        channels = [shape.channels for shape in shapes]
        first = int(math.log2(shapes[0].stride))
        self.bottom_up = _ExtraLevels(
            bottom_up, in_features, channels[-1], out_channels, norm, num_levels - 3
        )
        channels += [out_channels] * (num_levels - 3)
        self.repeated_bifpn = nn.ModuleList()
        for _ in range(num_bifpn):
            self.repeated_bifpn.append(_Layer(channels, out_channels, norm))
            channels = [out_channels] * num_levels

        self._out_features = [f"p{first + i}" for i in range(num_levels)]
        self._out_feature_strides = {name: 2 ** int(name[1:]) for name in self._out_features}
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)
        # Also without the two coarsest levels: published results depend on the padding
        self._size_divisibility = 2 ** (first + 4)

    @property
    def size_divisibility(self) -> int:
        """The stride of the coarsest of five levels, whether there are five or three."""
        return self._size_divisibility

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """``(B, 3, H, W)`` to the maps by name."""
        maps = self.bottom_up(x)
        for layer in self.repeated_bifpn:
            maps = layer(maps)
        return dict(zip(self._out_features, maps))


class _ExtraLevels(nn.Module):
    """The backbone's maps, fine to coarse, and coarser ones pooled from them."""

    def __init__(
        self,
        backbone: Backbone,
        in_features: Sequence[str],
        in_channels: int,
        out_channels: int,
        norm: str,
        extra_levels: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.in_features = list(in_features)
        self.extra_levels = extra_levels
        last = self.in_features[-1]
        self._sixth = f"{last[:-1]}{int(last[-1]) + 1}"
        if extra_levels:
            self.add_module(self._sixth, _Reduction(in_channels, out_channels, norm))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        features = self.backbone(x)
        maps = [features[name] for name in self.in_features]
        if self.extra_levels:
            maps.append(self.get_submodule(self._sixth)(maps[-1]))
            for _ in range(1, self.extra_levels):
                maps.append(_half(maps[-1]))
        return maps


class _Reduction(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        super().__init__()
        self.reduction = None
        if in_channels != out_channels:
            self.reduction = Conv2d(
                in_channels, out_channels, 1, bias=not norm, norm=get_norm(norm, out_channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _half(x if self.reduction is None else self.reduction(x))


class _Layer(nn.Module):
    def __init__(self, in_channels: Sequence[int], out_channels: int, norm: str) -> None:
        super().__init__()
        self.num_levels = len(in_channels)
        self.nodes = FIVE_LEVELS if self.num_levels == 5 else THREE_LEVELS
        self._laterals: set[str] = set()
        channels = dict(enumerate(in_channels))
        for node in self.nodes:
            weights = nn.Parameter(torch.ones(len(node.offsets)))
            self.register_parameter(_name("weights", node), weights)
            self.add_module(
                _name("outputs", node),
                Conv2d(
                    out_channels,
                    out_channels,
                    3,
                    padding=1,
                    bias=not norm,
                    norm=get_norm(norm, out_channels),
                ),
            )
            for offset in node.offsets:
                name = _lateral(offset, node)
                if name not in self._laterals and channels.get(offset) not in (None, out_channels):
                    # The bias before a norm has no use, but published weights hold it
                    norm_layer = get_norm(norm, out_channels)
                    self.add_module(
                        name, Conv2d(channels[offset], out_channels, 1, norm=norm_layer)
                    )
                    self._laterals.add(name)

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        maps = list(maps)
        sizes = [tensor.shape[-2:] for tensor in maps]
        projected: dict[str, torch.Tensor] = {}
        for node in self.nodes:
            inputs = []
            for offset in node.offsets:
                name = _lateral(offset, node)
                if name in self._laterals and name not in projected:
                    projected[name] = self.get_submodule(name)(maps[offset])
                inputs.append(_resize(projected.get(name, maps[offset]), sizes[node.level]))
            fused = fuse(inputs, self.get_parameter(_name("weights", node)))
            maps.append(self.get_submodule(_name("outputs", node))(F.silu(fused)))
        return maps[-self.num_levels :]


def _name(kind: str, node: Node) -> str:
    return f"{kind}_f{node.level}_{'_'.join(map(str, node.offsets))}"


def _lateral(offset: int, node: Node) -> str:
    return f"lateral_{offset}_f{node.level}"


def _half(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(x, 3, 2, 1)


def _resize(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Bring a map at most an octave away to a size."""
    height, width = x.shape[-2:]
    if height > size[0] or width > size[1]:
        return _half(x)
    if (height, width) != tuple(size):
        return F.interpolate(x, size=size, mode="nearest")
    return x
