"""DLA with maps up-sampled by iterative deep aggregation, to stride 4 or strides 8 to 32."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from detectron2.layers import ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from torch import nn

from centernet2.errors import UserError
from centernet2.layers import ModulatedDeformConv

from .dla import DLA

__all__ = [
    "DLAUp",
    "UpsampledDLA",
    "bilinear_kernel",
    "build_dla_backbone",
    "build_dlaup_backbone",
]

# Makes a node of given input channels, output channels and norm
NodeMaker = Callable[[int, int, str], nn.Module]


class UpsampledDLA(Backbone):
    """DLA with deformable aggregation back up to stride 4; the backbone of CenterNet-S4.

    Two aggregations follow each other: ``dla_up`` climbs from stride 32 to 16, 8 and 4, ``ida_up``
    joins its three results at stride 4. Nothing but ``dla2`` comes out.
    """

    def __init__(
        self,
        num_layers: int = 34,
        *,
        norm: str = "BN",
        out_features: Sequence[str] = ("dla2",),
        use_dla_up: bool = True,
        ms_output: bool = False,
    ) -> None:
        """
        Args:
            num_layers: 34 or 60.
            norm: a name that Detectron2's ``get_norm`` knows.
            out_features: names of the maps to return.
            use_dla_up: up-sample at all; without, ``ms_output`` must be set.
            ms_output: leave ``ida_up`` out and return ``dla2`` to ``dla5`` of ``dla_up`` (or
                ``dla0`` to ``dla5`` of the network itself, without ``use_dla_up``).

        Raises:
            UserError: if the settings contradict each other.
        """
        super().__init__()
        if not use_dla_up and not ms_output:
            raise UserError("MODEL.DLA.USE_DLA_UP False needs MODEL.DLA.MS_OUTPUT True.")
        names = [f"dla{i}" for i in range(2 if use_dla_up else 0, 6)]
        self.base = DLA(num_layers, norm=norm, out_features=names)
        if not ms_output:
            names = names[:1]
        unknown = [name for name in out_features if name not in names]
        if unknown or not out_features:
            raise UserError(
                f"MODEL.DLA.OUT_FEATURES must be chosen from {names}, not {list(out_features)}."
            )

        shapes = self.base.output_shape()
        channels = [shape.channels for shape in shapes.values()]
        self.dla_up = None
        if use_dla_up:
            self.dla_up = nn.ModuleDict(ida_steps(channels, _DeformNode, norm))
        self.ida_up = None
        if not ms_output:
            self.ida_up = _Ida(channels[1:3], channels[0], (2, 4), _DeformNode, norm)

        self._out_features = list(out_features)
        self._out_feature_strides = {name: shape.stride for name, shape in shapes.items()}
        self._out_feature_channels = {name: shape.channels for name, shape in shapes.items()}

    @property
    def size_divisibility(self) -> int:
        """32: up-sampled maps then meet maps of their own size."""
        return 32

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """``(B, 3, H, W)``, both sides multiples of 32, to the maps by name."""
        features = self.base(x)
        maps = list(features.values())
        if self.dla_up is not None:
            maps = aggregate(self.dla_up.values(), maps)
        if self.ida_up is not None:
            maps = self.ida_up(maps[:3])[-1:]
        return {name: tensor for name, tensor in zip(features, maps) if name in self._out_features}


class DLAUp(Backbone):
    """A network whose maps are aggregated from coarse to fine; each finer map comes out.

    Maps are called ``dlaup3`` (stride 8), ... The coarsest is the network's own.
    """

    def __init__(
        self, bottom_up: Backbone, in_features: Sequence[str], norm: str, node: str = "conv"
    ) -> None:
        """
        Args:
            bottom_up: the network below.
            in_features: names of two or more of its maps, each half as large as the one before.
            norm: a name that Detectron2's ``get_norm`` knows.
            node: "conv" (1x1 convolutions) or "dcn" (modulated deformable 3x3 convolutions).

        Raises:
            UserError: if the kind of node or a map is unknown, or strides do not double.
        """
        super().__init__()
        if node not in _NODES:
            raise UserError(f"MODEL.DLA.DLAUP_NODE must be one of {[*_NODES]}, not {node!r}.")
        shapes = bottom_up.output_shape()
        unknown = [name for name in in_features if name not in shapes]
        strides = [shapes[name].stride for name in in_features if name in shapes]
        if unknown or len(strides) < 2 or any(b != 2 * a for a, b in zip(strides, strides[1:])):
            raise UserError(
                "MODEL.DLA.DLAUP_IN_FEATURES must name two or more of "
                f"{list(shapes)} whose strides double, not {list(in_features)}."
            )
        self.bottom_up = bottom_up
        self.in_features = list(in_features)
        channels = [shapes[name].channels for name in in_features]
        steps = ida_steps(channels, _NODES[node], norm)
        self._steps = list(steps)
        for name, step in steps.items():
            self.add_module(name, step)

        self._out_features = [f"dlaup{int(math.log2(stride))}" for stride in strides]
        self._out_feature_strides = dict(zip(self._out_features, strides))
        self._out_feature_channels = dict(zip(self._out_features, channels))

    @property
    def size_divisibility(self) -> int:
        """The coarsest stride."""
        return max(self._out_feature_strides.values())

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """``(B, 3, H, W)``, both sides multiples of the coarsest stride, to the maps by name."""
        features = self.bottom_up(x)
        steps = [getattr(self, name) for name in self._steps]
        maps = aggregate(steps, [features[name] for name in self.in_features])
        return dict(zip(self._out_features, maps))


class _Ida(nn.Module):
    """Iterative deep aggregation: each map in turn is up-sampled and joined to the one before.

    Args of the constructor:
        in_channels: of all maps but the first, which has ``out_channels``.
        factors: their strides relative to the first map's.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        factors: Sequence[int],
        node: NodeMaker,
        norm: str,
    ) -> None:
        super().__init__()
        for i, (channels, factor) in enumerate(zip(in_channels, factors), start=1):
            self.add_module(f"proj_{i}", node(channels, out_channels, norm))
            self.add_module(f"up_{i}", _upsampling(out_channels, factor))
            self.add_module(f"node_{i}", node(out_channels, out_channels, norm))

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        updated = [maps[0]]
        for i in range(1, len(maps)):
            projected = self.get_submodule(f"proj_{i}")(maps[i])
            upsampled = self.get_submodule(f"up_{i}")(projected)
            updated.append(self.get_submodule(f"node_{i}")(upsampled + updated[-1]))
        return updated


def ida_steps(channels: Sequence[int], node: NodeMaker, norm: str) -> dict[str, _Ida]:
    """The aggregations that :func:`aggregate` runs, under their published names.

    Args:
        channels: of maps whose strides double, fine to coarse.
        node: makes the projections and nodes.
        norm: a name that Detectron2's ``get_norm`` knows.
    """
    current = list(channels)
    steps = {}
    for k in range(len(channels) - 1):
        first = len(channels) - 2 - k
        inputs = current[first + 1 :]
        steps[f"ida_{k}"] = _Ida(inputs, channels[first], [2] * len(inputs), node, norm)
        current[first + 1 :] = [channels[first]] * len(inputs)
    return steps


def aggregate(steps: Iterable[nn.Module], maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Run the steps on the two coarsest maps, then on three, ...

    Args:
        steps: from :func:`ida_steps`, in their order.
        maps: fine to coarse.

    Returns:
        As many maps of the same shapes; each but the last is made from all coarser ones.
    """
    current = list(maps)
    results = [current[-1]]
    for k, step in enumerate(steps):
        first = len(current) - 2 - k
        current[first:] = step(current[first:])
        results.insert(0, current[-1])
    return results


class _DeformNode(ModulatedDeformConv):
    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        super().__init__(in_channels, out_channels, bias=True)
        self.actf = nn.Sequential(get_norm(norm, out_channels) or nn.Identity(), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.actf(super().forward(x))


class _ConvNode(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            get_norm(norm, out_channels) or nn.Identity(),
            nn.ReLU(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


_NODES: dict[str, NodeMaker] = {"conv": _ConvNode, "dcn": _DeformNode}


def _upsampling(channels: int, factor: int) -> nn.ConvTranspose2d:
    """Each channel up-sampled on its own, bilinearly at first."""
    up = nn.ConvTranspose2d(
        channels, channels, 2 * factor, factor, factor // 2, groups=channels, bias=False
    )
    with torch.no_grad():
        up.weight.copy_(bilinear_kernel(factor).expand_as(up.weight))
    return up


def bilinear_kernel(factor: int) -> torch.Tensor:
    """``(2 * factor, 2 * factor)``: the kernel with which a transposed convolution interpolates."""
    centre = (2 * factor - 1 - factor % 2) / (2 * factor)
    line = 1 - (torch.arange(2 * factor) / factor - centre).abs()
    return line[:, None] * line[None, :]


@BACKBONE_REGISTRY.register()
def build_dla_backbone(cfg: Any, input_shape: ShapeSpec) -> UpsampledDLA:
    """DLA up-sampled to stride 4 with deformable convolutions."""
    c = cfg.MODEL.DLA
    return UpsampledDLA(
        c.NUM_LAYERS,
        norm=c.NORM,
        out_features=c.OUT_FEATURES,
        use_dla_up=c.USE_DLA_UP,
        ms_output=c.MS_OUTPUT,
    )


@BACKBONE_REGISTRY.register()
def build_dlaup_backbone(cfg: Any, input_shape: ShapeSpec) -> DLAUp:
    """DLA aggregated from coarse to fine, at strides 8 to 32."""
    c = cfg.MODEL.DLA
    bottom_up = DLA(c.NUM_LAYERS, norm=c.NORM, out_features=c.DLAUP_IN_FEATURES)
    return DLAUp(bottom_up, c.DLAUP_IN_FEATURES, c.NORM, c.DLAUP_NODE)
