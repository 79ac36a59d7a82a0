"""Modulated deformable convolution (DCNv2) on torchvision's operator, on CPU and GPU."""

from __future__ import annotations

import math

import torch
from torch import nn
from torchvision.ops import deform_conv2d

__all__ = ["ModulatedDeformConv"]


class _DeformWeight(nn.Module):
    """The convolution's own parameters, under the name that checkpoints use."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")


class ModulatedDeformConv(nn.Module):
    """A deformable convolution together with the convolution that predicts its offsets.

    Parameters are named ``offset.{weight,bias}`` (``3 * k * k`` outputs: offsets (y, x) of each
    tap interleaved, then mask logits) and ``conv.weight`` (and ``conv.bias``).

    Shape: ``(B, in_channels, H, W)`` to ``(B, out_channels, H', W')``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.taps = kernel_size * kernel_size
        self.offset = nn.Conv2d(in_channels, 3 * self.taps, kernel_size, stride, padding)
        self.conv = _DeformWeight(in_channels, out_channels, kernel_size, bias)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        offsets, mask = self.offset(x).split([2 * self.taps, self.taps], dim=1)
        weight = self.conv.weight
        # torchvision's operator wants one dtype for all, which autocast does not arrange
        return deform_conv2d(
            x.to(weight.dtype),
            offsets.to(weight.dtype),
            weight,
            self.conv.bias,
            stride=self.stride,
            padding=self.padding,
            mask=mask.to(weight.dtype).sigmoid(),
        )

    def extra_repr(self) -> str:
        return f"taps={int(math.sqrt(self.taps))}x{int(math.sqrt(self.taps))}, stride={self.stride}"
