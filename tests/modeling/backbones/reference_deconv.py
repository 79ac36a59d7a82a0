"""Transposed convolutions behind a ResNet, written from the description; float64, slow."""

from __future__ import annotations

import torch

from .reference_dla import batch_norm, deform_conv


def double(x, weight):
    """A transposed 4x4 convolution of stride 2: each cell spread over 4x4, a border of 1 cut."""
    n, _, height, width = x.shape
    out = torch.zeros(n, weight.shape[1], 2 * height + 2, 2 * width + 2, dtype=x.dtype)
    for i in range(height):
        for j in range(width):
            spread = torch.einsum("nc,coyx->noyx", x[:, :, i, j], weight)
            out[:, :, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += spread
    return out[:, :, 1:-1, 1:-1]


def deconv_layers(x, w, deformable=True):
    """``w``: weights below ``deconv_layers``, numbered as published."""
    x = x.double()
    number = 0
    for _ in range(3):
        if deformable:
            x = batch_norm(deform_conv(x, w.below(f"{number}")), w.below(f"{number + 1}"))
            x = x.clamp(min=0)
            number += 3
        x = batch_norm(double(x, w[f"{number}.weight"]), w.below(f"{number + 1}")).clamp(min=0)
        number += 3
    return x
