"""A deformable convolution of one image in plain loops, float64 NumPy, from its definition."""

from __future__ import annotations

import math

import numpy as np


def sample(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """All channels of ``image (C, H, W)`` at a real position; 0 outside the pixel grid."""
    _, height, width = image.shape
    value = np.zeros(image.shape[0])
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                value += (1 - abs(y - row)) * (1 - abs(x - column)) * image[:, row, column]
    return value


def deform_conv(
    image: np.ndarray,
    offsets: np.ndarray,
    weight: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    stride: int = 1,
    padding: int = 1,
    dilation: int = 1,
) -> np.ndarray:
    """``image (C, H, W)``, ``offsets (2*g*k*k, H', W')``, ``weight (O, C/groups, k, k)``,
    ``mask (g*k*k, H', W')`` to ``(O, H', W')``. Offsets: y, x of tap 0, y, x of tap 1, ..."""
    channels = image.shape[0]
    out_channels, group_channels, kernel, _ = weight.shape
    groups = channels // group_channels
    taps = kernel * kernel
    deformable_groups = offsets.shape[0] // (2 * taps)
    per_deformable = channels // deformable_groups
    out_height, out_width = offsets.shape[1:]
    result = np.zeros((out_channels, out_height, out_width))
    for oy in range(out_height):
        for ox in range(out_width):
            patch = np.zeros((channels, taps))
            for g in range(deformable_groups):
                members = slice(g * per_deformable, (g + 1) * per_deformable)
                for tap in range(taps):
                    ky, kx = divmod(tap, kernel)
                    dy, dx = offsets[2 * (g * taps + tap) : 2 * (g * taps + tap) + 2, oy, ox]
                    patch[members, tap] = sample(
                        image[members],
                        oy * stride - padding + ky * dilation + dy,
                        ox * stride - padding + kx * dilation + dx,
                    )
                    if mask is not None:
                        patch[members, tap] *= mask[g * taps + tap, oy, ox]
            for o in range(out_channels):
                group = o // (out_channels // groups)
                own = patch[group * group_channels : (group + 1) * group_channels]
                result[o, oy, ox] = (weight[o].reshape(group_channels, taps) * own).sum()
    return result
