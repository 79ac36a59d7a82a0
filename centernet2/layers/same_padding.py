"""Convolution and up-sampling as TensorFlow does them, for weights that were trained there."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d
from torch import nn

__all__ = ["SameConv2d", "double_size", "same_padding"]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one side of a map so that ``ceil(size / stride)`` cells come out.

    Where their number is odd, the greater half is after: a stride of 2 on an even side samples
    other pixels than the usual symmetric padding.
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SameConv2d(Conv2d):
    """A 2D convolution whose input is padded by :func:`same_padding`.

    The arguments are those of Detectron2's ``Conv2d``, of which padding is left out.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
        norm: nn.Module | None = None,
    ) -> None:
        # With stride 1 and an odd kernel the padding is the same on both sides, whatever the size
        fixed = (kernel_size - 1) // 2 if stride == 1 and kernel_size % 2 else 0
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            fixed,
            groups=groups,
            bias=bias,
            norm=norm,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, in, H, W)`` to ``(B, out, ceil(H / stride), ceil(W / stride))``."""
        if self.padding == (0, 0) and self.kernel_size != (1, 1):
            before = [
                same_padding(side, kernel, stride)
                for side, kernel, stride in zip(x.shape[:1:-1], self.kernel_size, self.stride)
            ]
            x = F.pad(x, [*before[0], *before[1]])
        y: torch.Tensor = super().forward(x)
        return y


def double_size(x: torch.Tensor) -> torch.Tensor:
    """Up-sample bilinearly by 2 with the corners, not the centres, of cells as their places.

    Cell ``i`` of the result looks at ``i / 2``: even cells are copies, odd ones the mean of their
    two neighbours, of which the last has only one. It is what TensorFlow's ``ResizeBilinear`` does
    unless told otherwise; PyTorch's ``interpolate`` has no such mode.

    Args:
        x: ``(B, C, H, W)``.

    Returns:
        ``(B, C, 2 H, 2 W)``.
    """
    height, width = x.shape[-2:]
    padded = F.pad(x, (0, 1, 0, 1), mode="replicate")
    size = (2 * height + 1, 2 * width + 1)
    larger = F.interpolate(padded, size=size, mode="bilinear", align_corners=True)
    return larger[..., :-1, :-1]
