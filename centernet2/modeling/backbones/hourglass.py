"""Stacked hourglasses of residual blocks (Newell et al. 2016, in the form of Law and Deng 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from torch import nn

from centernet2.errors import UserError

__all__ = ["ConvNormRelu", "StackedHourglass", "build_hourglass_backbone"]

_STEM_STRIDE = 4


class StackedHourglass(Backbone):
    """Hourglass-104 (2 stacks) or Hourglass-52 (1), or a narrower or flatter one.

    An image is brought to stride 4; each hourglass goes down by halves, to stride 128, and up
    again, and gives a map of stride 4 and ``dims[0]`` channels: ``stack0``, ``stack1``, ... Each
    hourglass sees the map that the one before it saw, and its result.

    Parameters are named as in the published checkpoints. Convolutions keep PyTorch's
    initialisation.
    """

    def __init__(
        self,
        num_stacks: int = 2,
        *,
        dims: Sequence[int] = (256, 256, 384, 384, 384, 512),
        blocks: Sequence[int] = (2, 2, 2, 2, 2, 4),
        stem_channels: int = 128,
        in_channels: int = 3,
        norm: str = "BN",
    ) -> None:
        """
        Args:
            num_stacks: number of hourglasses.
            dims: channels at stride 4 and after each halving.
            blocks: residual blocks at the same places.
            stem_channels: channels of the first convolution.
            in_channels: of the images.
            norm: a name that Detectron2's ``get_norm`` knows.

        Raises:
            UserError: if these do not make a network.
        """
        super().__init__()
        if num_stacks < 1 or len(dims) != len(blocks) or len(dims) < 2 or min(blocks) < 1:
            raise UserError(
                f"MODEL.HOURGLASS: NUM_STACKS {num_stacks}, DIMS {list(dims)} and BLOCKS "
                f"{list(blocks)} make no network: there must be a stack, and as many DIMS (two or "
                "more) as BLOCKS (1 or more each)."
            )
        if not norm:
            raise UserError('MODEL.HOURGLASS.NORM is empty; choose a normalisation such as "BN".')
        width = dims[0]
        self.pre = nn.Sequential(
            ConvNormRelu(in_channels, stem_channels, 7, stride=2, norm=norm),
            _Residual(stem_channels, width, stride=2, norm=norm),
        )
        between = range(num_stacks - 1)
        self.kps = nn.ModuleList(_Hourglass(dims, blocks, norm) for _ in range(num_stacks))
        self.cnvs = nn.ModuleList(
            ConvNormRelu(width, width, 3, norm=norm) for _ in range(num_stacks)
        )
        self.inters = nn.ModuleList(_Residual(width, width, norm=norm) for _ in between)
        self.inters_ = nn.ModuleList(_projection(width, width, 1, norm) for _ in between)
        self.cnvs_ = nn.ModuleList(_projection(width, width, 1, norm) for _ in between)

        self._levels = len(dims) - 1
        names = [f"stack{i}" for i in range(num_stacks)]
        self._out_features = names
        self._out_feature_strides = dict.fromkeys(names, _STEM_STRIDE)
        self._out_feature_channels = dict.fromkeys(names, width)

    @property
    def size_divisibility(self) -> int:
        """128 with five halvings. A size that is one less gives the same maps."""
        return _STEM_STRIDE * 2**self._levels

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Args:
            x: ``(N, 3, H, W)``; H and W are multiples of ``size_divisibility``, or up to 3 less.

        Returns:
            The map ``(N, dims[0], ceil(H / 4), ceil(W / 4))`` of each stack by name.

        Raises:
            ValueError: for other sizes.
        """
        height, width = x.shape[-2:]
        x = self.pre(x)
        if x.shape[-2] % 2**self._levels or x.shape[-1] % 2**self._levels:
            raise ValueError(
                f"an hourglass of {self._levels} levels needs sides that are multiples of "
                f"{self.size_divisibility}, or one less, not {height} x {width}"
            )
        outputs = {}
        for i, (hourglass, conv) in enumerate(zip(self.kps, self.cnvs)):
            outputs[f"stack{i}"] = result = conv(hourglass(x))
            if i < len(self.inters):
                x = self.inters[i](F.relu(self.inters_[i](x) + self.cnvs_[i](result)))
        return outputs


class ConvNormRelu(nn.Module):
    """A convolution that keeps the size (``conv``), a normalisation (``bn``), and ReLU.

    Without ``norm`` the convolution has a bias instead.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, norm: str = ""
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=not norm)
        self.bn = get_norm(norm, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        x = self.conv(x)
        return F.relu(x if self.bn is None else self.bn(x), inplace=True)


class _Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, norm: str = "BN"
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = get_norm(norm, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = get_norm(norm, out_channels)
        changes = stride != 1 or in_channels != out_channels
        self.skip = (
            _projection(in_channels, out_channels, stride, norm) if changes else nn.Identity()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        main = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(main)) + self.skip(x), inplace=True)


class _Hourglass(nn.Module):
    """One level: a branch at this resolution, and one that goes down, through the next, and up.

    Args of the constructor:
        dims, blocks: of this level and all below it.
    """

    def __init__(self, dims: Sequence[int], blocks: Sequence[int], norm: str) -> None:
        super().__init__()
        here, below = dims[:2]
        count = blocks[0]
        self.up1 = _residuals([here] * (count + 1), norm)
        self.low1 = _residuals([here] + [below] * count, norm, stride=2)
        self.low2 = (
            _Hourglass(dims[1:], blocks[1:], norm)
            if len(dims) > 2
            else _residuals([below] * (blocks[1] + 1), norm)
        )
        self.low3 = _residuals([below] * count + [here], norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = self.low3(self.low2(self.low1(x)))
        return self.up1(x) + F.interpolate(low, scale_factor=2.0, mode="nearest")


def _residuals(channels: Sequence[int], norm: str, stride: int = 1) -> nn.Sequential:
    """Blocks from each number of channels to the next; the first has the stride."""
    return nn.Sequential(
        *(
            _Residual(a, b, stride=stride if i == 0 else 1, norm=norm)
            for i, (a, b) in enumerate(zip(channels, channels[1:]))
        )
    )


def _projection(in_channels: int, out_channels: int, stride: int, norm: str) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), get_norm(norm, out_channels)
    )


@BACKBONE_REGISTRY.register()
def build_hourglass_backbone(cfg: Any, input_shape: ShapeSpec) -> StackedHourglass:
    """Stacked hourglasses: the keys of ``MODEL.HOURGLASS``."""
    c = cfg.MODEL.HOURGLASS
    return StackedHourglass(
        c.NUM_STACKS,
        dims=c.DIMS,
        blocks=c.BLOCKS,
        stem_channels=c.STEM_CHANNELS,
        in_channels=input_shape.channels,
        norm=c.NORM,
    )
