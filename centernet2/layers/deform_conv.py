"""Deformable convolutions (DCN, DCNv2) on torchvision's operator, on CPU and GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torchvision.ops import DeformConv2d, deform_conv2d

__all__ = ["DeformConv", "ModulatedDeformConv", "split_offsets"]


def split_offsets(prediction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The offsets and the mask from the output of the convolution that predicts both.

    Args:
        prediction: ``(B, 3 * g * k * k, H, W)`` for a ``k`` x ``k`` kernel and ``g`` deformable
            groups: first the offsets, (y, x) of each tap interleaved, then the mask's logits.

    Returns:
        The offsets ``(B, 2 * g * k * k, H, W)`` in pixels and the mask ``(B, g * k * k, H, W)`` in
        [0, 1].
    """
    taps = prediction.shape[1] // 3
    offsets, mask = prediction.split([2 * taps, taps], dim=1)
    return offsets, mask.sigmoid()


class DeformConv(DeformConv2d):
    """A deformable convolution of given offsets, modulated if a mask is given too.

    Takes the place of both ``DeformConv`` and ``ModulatedDeformConv`` of ``detectron2.layers``,
    which need Detectron2's compiled code and a GPU: same arguments, parameters and initial values.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool = False,
        norm: nn.Module | None = None,
        activation: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        """
        Args:
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as in
                a convolution.
            deformable_groups: groups of input channels, each with its own offsets.
            norm, activation: applied to the result.
        """
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        )
        self.deformable_groups = deformable_groups
        self.norm = norm
        self.activation = activation

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(
        self, x: torch.Tensor, offset: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        Args:
            x: ``(B, in_channels, H, W)``.
            offset: ``(B, 2 * deformable_groups * k * k, H', W')``, (y, x) of each tap, in pixels.
            mask: ``(B, deformable_groups * k * k, H', W')``.

        Returns:
            ``(B, out_channels, H', W')`` in the type of ``x``.
        """
        # The operator wants one type for all, which autocast does not arrange, and sampling
        # positions need more than half precision
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        result = deform_conv2d(
            x.to(dtype),
            offset.to(dtype),
            self.weight.to(dtype),
            None if self.bias is None else self.bias.to(dtype),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            mask=None if mask is None else mask.to(dtype),
        ).to(x.dtype)
        if self.norm is not None:
            result = self.norm(result)
        return result if self.activation is None else self.activation(result)


class ModulatedDeformConv(nn.Module):
    """A deformable convolution together with the convolution that predicts its offsets.

    Parameters are named ``offset.{weight,bias}`` (see :func:`split_offsets` for its outputs) and
    ``conv.weight`` (and ``conv.bias``). The offsets start at 0, the mask at 0.5.

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
        self.offset = nn.Conv2d(in_channels, 3 * kernel_size**2, kernel_size, stride, padding)
        self.conv = DeformConv(
            in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=bias
        )
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x, *split_offsets(self.offset(x)))

    def reset_uniformly(self) -> None:
        """Draw the weights from U(-b, b), b = 1 / sqrt(inputs of an output), biases 0.

        So did the first release of DCNv2 for PyTorch; the default is Detectron2's.
        """
        bound = self.conv.weight[0].numel() ** -0.5
        nn.init.uniform_(self.conv.weight, -bound, bound)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)
