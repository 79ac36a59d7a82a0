"""Deep Layer Aggregation (Yu et al., 2018): the network that the DLA backbones are built on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.layers import get_norm
from detectron2.modeling.backbone import Backbone
from torch import nn

from centernet2.errors import UserError

__all__ = ["DLA", "dla_below"]


class DLA(Backbone):
    """DLA-34 or DLA-60. Maps ``dla0`` (stride 1) to ``dla5`` (stride 32).

    Parameters are named as in the published ImageNet models and CenterNet2 models. These also
    hold a classifier, ``fc``, which is dropped when they are loaded.

    The projections of whole stages (``level3.project``, ``level4.project``) belong to those
    names, but no result depends on them: they are kept and not trained.
    """

    def __init__(
        self,
        num_layers: int = 34,
        *,
        norm: str = "BN",
        out_features: Sequence[str] = ("dla3", "dla4", "dla5"),
    ) -> None:
        """
        Args:
            num_layers: 34 or 60.
            norm: a name that Detectron2's ``get_norm`` knows.
            out_features: names of the maps to return.

        Raises:
            UserError: if there is no such network or map.
        """
        super().__init__()
        if num_layers not in _NETWORKS:
            raise UserError(f"MODEL.DLA.NUM_LAYERS must be in {[*_NETWORKS]}, not {num_layers}.")
        block, depths, channels = _NETWORKS[num_layers]
        names = [f"dla{i}" for i in range(len(channels))]
        unknown = [name for name in out_features if name not in names]
        if unknown:
            raise UserError(f"DLA has no feature maps {unknown}; there are {names}.")

        self.base_layer = _conv_norm_relu(3, channels[0], 7, 1, norm)
        self.level0 = _conv_norm_relu(channels[0], channels[0], 3, 1, norm)
        self.level1 = _conv_norm_relu(channels[0], channels[1], 3, 2, norm)
        for i, depth in enumerate(depths, start=2):
            # The first stage that aggregates does not pass its own input on
            tree = _Tree(depth, block, channels[i - 1], channels[i], norm, 2, pass_input=i > 2)
            self.add_module(f"level{i}", tree)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

        self._out_features = list(out_features)
        self._out_feature_strides = {name: 2**i for i, name in enumerate(names)}
        self._out_feature_channels = dict(zip(names, channels))

    @property
    def size_divisibility(self) -> int:
        """32: all trees then meet maps of equal sizes."""
        return 32

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """``(B, 3, H, W)`` to the maps by name, fine to coarse."""
        outputs = {}
        x = self.base_layer(x)
        for i, name in enumerate(self._out_feature_strides):
            x = getattr(self, f"level{i}")(x)
            if name in self._out_features:
                outputs[name] = x
        return outputs

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        for name in ("fc.weight", "fc.bias"):
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *args)


def dla_below(cfg: Any) -> DLA:
    """The network under a pyramid: ``MODEL.DLA.{NUM_LAYERS, NORM}``, ``MODEL.FPN.IN_FEATURES``."""
    c = cfg.MODEL.DLA
    return DLA(c.NUM_LAYERS, norm=c.NORM, out_features=cfg.MODEL.FPN.IN_FEATURES)


class _Tree(nn.Module):
    """Two subtrees (blocks, at the leaves) whose results a root joins with those of its ancestors.

    Args of the constructor:
        depth: levels of the tree; 1 has blocks for subtrees.
        stride: of the first subtree.
        pass_input: whether the (pooled) input is joined at the root too.
        extra_channels: channels that ancestors hand to the root.
    """

    def __init__(
        self,
        depth: int,
        block: type[nn.Module],
        in_channels: int,
        out_channels: int,
        norm: str,
        stride: int = 1,
        *,
        pass_input: bool = False,
        extra_channels: int = 0,
    ) -> None:
        super().__init__()
        self.depth = depth
        self.stride = stride
        self.pass_input = pass_input
        extra = extra_channels + (in_channels if pass_input else 0)
        if depth == 1:
            self.tree1 = block(in_channels, out_channels, stride, norm)
            self.tree2 = block(out_channels, out_channels, 1, norm)
            self.root = _Root(2 * out_channels + extra, out_channels, norm)
        else:
            self.tree1 = _Tree(depth - 1, block, in_channels, out_channels, norm, stride)
            self.tree2 = _Tree(
                depth - 1,
                block,
                out_channels,
                out_channels,
                norm,
                extra_channels=extra + out_channels,
            )
        self.project = None
        if in_channels != out_channels:
            self.project = _conv_norm(in_channels, out_channels, 1, 1, norm)
            # Subtrees project for themselves
            self.project.requires_grad_(depth == 1)

    def forward(self, x: torch.Tensor, extra: Sequence[torch.Tensor] = ()) -> torch.Tensor:
        pooled = F.max_pool2d(x, self.stride) if self.stride > 1 else x
        if self.pass_input:
            extra = [*extra, pooled]
        if self.depth > 1:
            first = self.tree1(x)
            return self.tree2(first, [*extra, first])
        first = self.tree1(x, pooled if self.project is None else self.project(pooled))
        second = self.tree2(first, first)
        return self.root([second, first, *extra])


class _Root(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn = _norm(norm, out_channels)

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        return F.relu(self.bn(self.conv(torch.cat(maps, dim=1))))


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut that is given, not computed."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = _norm(norm, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = _norm(norm, out_channels)

    def forward(self, x: torch.Tensor, shortcut: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the 3x3 on half of the channels, and a given shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: str) -> None:
        super().__init__()
        width = out_channels // 2
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = _norm(norm, width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = _norm(norm, width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = _norm(norm, out_channels)

    def forward(self, x: torch.Tensor, shortcut: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)


# By number of layers: the block, depths of level2 to level5, channels of dla0 to dla5
_NETWORKS: dict[int, tuple[type[nn.Module], tuple[int, ...], tuple[int, ...]]] = {
    34: (_BasicBlock, (1, 2, 2, 1), (16, 32, 64, 128, 256, 512)),
    60: (_Bottleneck, (1, 2, 3, 1), (16, 32, 128, 256, 512, 1024)),
}


def _norm(norm: str, channels: int) -> nn.Module:
    return get_norm(norm, channels) or nn.Identity()


def _conv_norm(
    in_channels: int, out_channels: int, kernel: int, stride: int, norm: str
) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, _norm(norm, out_channels))


def _conv_norm_relu(
    in_channels: int, out_channels: int, kernel: int, stride: int, norm: str
) -> nn.Sequential:
    return _conv_norm(in_channels, out_channels, kernel, stride, norm).append(nn.ReLU())
