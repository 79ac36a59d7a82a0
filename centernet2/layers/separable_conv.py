"""A 3x3 convolution split into a depth-wise and a point-wise one."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

__all__ = ["separable_conv3x3"]


def separable_conv3x3(in_channels: int, out_channels: int) -> nn.Sequential:
    """``depthwise`` (3x3, no bias) and ``pointwise`` (1x1, with a bias), nothing between them.

    Shape: ``(B, in_channels, H, W)`` to ``(B, out_channels, H, W)``.
    """
    return nn.Sequential(
        OrderedDict(
            depthwise=nn.Conv2d(
                in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False
            ),
            pointwise=nn.Conv2d(in_channels, out_channels, 1),
        )
    )
