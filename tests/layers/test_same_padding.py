"""Padding and up-sampling against loops written from TensorFlow's rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from centernet2.layers.same_padding import SameConv2d, double_size, same_padding


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (512, 3, 2, (0, 1)),
        (513, 3, 2, (1, 1)),
        (64, 5, 2, (1, 2)),
        (65, 5, 2, (2, 2)),
        (64, 5, 1, (2, 2)),
        (64, 1, 2, (0, 0)),
    ],
)
def test_zeros_before_and_after(
    size: int, kernel: int, stride: int, expected: tuple[int, int]
) -> None:
    assert same_padding(size, kernel, stride) == expected


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (2, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("size", [(4, 7), (5, 6)])
def test_convolution_equals_a_loop(kernel: int, stride: int, size: tuple[int, int]) -> None:
    layer = SameConv2d(4, 6, kernel, stride, groups=2).double()
    x = torch.randn(1, 4, *size, dtype=torch.float64)
    with torch.no_grad():
        found = layer(x)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    rows, columns = (math.ceil(side / stride) for side in size)
    assert found.shape == (1, 6, rows, columns)
    # Cell (i, j) looks at the input from stride * i - before on, zeros outside
    before = [max((math.ceil(s / stride) - 1) * stride + kernel - s, 0) // 2 for s in size]
    for b, o, i, j in np.ndindex(*found.shape):
        total = bias[o]
        for c, u, v in np.ndindex(2, kernel, kernel):
            y, z = stride * i - before[0] + u, stride * j - before[1] + v
            if 0 <= y < size[0] and 0 <= z < size[1]:
                total += weight[o, c, u, v] * float(x[b, 2 * (o // 3) + c, y, z])
        assert abs(total - float(found[b, o, i, j])) < 1e-12


def test_double_size_equals_a_loop() -> None:
    x = torch.randn(2, 3, 4, 5)
    found = double_size(x)
    assert found.shape == (2, 3, 8, 10)
    for i in range(8):
        for j in range(10):
            rows = [i // 2, min(i // 2 + i % 2, 3)]
            columns = [j // 2, min(j // 2 + j % 2, 4)]
            expected = x[:, :, rows][:, :, :, columns].mean(dim=(2, 3))
            torch.testing.assert_close(found[:, :, i, j], expected)
