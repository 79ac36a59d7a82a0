"""Deformable convolutions equal a plain loop, and plain convolutions where nothing is deformed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from centernet2.layers import DeformConv, ModulatedDeformConv, split_offsets

from . import reference_deform as reference


def random_offsets(convolution, x, generator, spread=1.5):
    """Offsets and mask that the convolution takes for this input; some reach outside of it."""
    taps = math.prod(convolution.kernel_size) * convolution.deformable_groups
    size = F.conv2d(
        x[:, :1],
        x.new_zeros(1, 1, *convolution.kernel_size),
        stride=convolution.stride,
        padding=convolution.padding,
        dilation=convolution.dilation,
    ).shape[2:]
    offsets = torch.randn(len(x), 2 * taps, *size, generator=generator, dtype=x.dtype) * spread
    return offsets, torch.rand(len(x), taps, *size, generator=generator, dtype=x.dtype)


@pytest.mark.parametrize("modulated", [True, False])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"stride": 2},
        {"padding": 2, "dilation": 2},
        {"groups": 2},
        {"deformable_groups": 2},
        {"groups": 4, "deformable_groups": 2, "stride": 2, "bias": True},
        {"kernel_size": 1, "padding": 0},
    ],
    ids=str,
)
def test_equals_the_plain_loop(arguments, modulated):
    generator = torch.Generator().manual_seed(0)
    arguments = {"kernel_size": 3, "padding": 1, **arguments}
    convolution = DeformConv(8, 12, **arguments).double()
    if convolution.bias is not None:
        torch.nn.init.normal_(convolution.bias)
    x = torch.randn(2, 8, 7, 6, generator=generator, dtype=torch.float64)
    offsets, mask = random_offsets(convolution, x, generator)
    found = convolution(x, offsets, mask if modulated else None).detach().numpy()
    for i in range(2):
        expected = reference.deform_conv(
            x[i].numpy(),
            offsets[i].numpy(),
            convolution.weight.detach().numpy(),
            mask[i].numpy() if modulated else None,
            stride=arguments.get("stride", 1),
            padding=arguments["padding"],
            dilation=arguments.get("dilation", 1),
        )
        if convolution.bias is not None:
            expected += convolution.bias.detach().numpy()[:, None, None]
        np.testing.assert_allclose(found[i], expected, atol=1e-12)


def test_gradients_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(1)
    convolution = DeformConv(2, 2, 3, padding=1).double()
    x = torch.randn(1, 2, 4, 3, generator=generator, dtype=torch.float64)
    _, mask = random_offsets(convolution, x, generator)
    # Away from whole pixels, where bilinear sampling has kinks
    offsets = 0.2 + 0.6 * torch.rand(1, 18, 4, 3, generator=generator, dtype=torch.float64)
    inputs = [t.requires_grad_() for t in (x, offsets, mask)]
    assert torch.autograd.gradcheck(convolution, inputs)


def test_an_offset_of_one_row_moves_the_image_up():
    """Even channels of the offsets are y, odd ones x."""
    convolution = DeformConv(3, 3, 3, padding=1)
    x = torch.rand(1, 3, 6, 5)
    offsets = torch.zeros(1, 18, 6, 5)
    offsets[:, 0::2] = 1
    moved = F.pad(x, (0, 0, 0, 1))[:, :, 1:]
    expected = F.conv2d(moved, convolution.weight, padding=1)
    # The top row sees what lies above the moved image, which is the image's own first row
    torch.testing.assert_close(convolution(x, offsets)[:, :, 1:], expected[:, :, 1:])


def test_a_fresh_one_is_half_a_convolution():
    """Offsets start at 0 and the mask at sigmoid(0)."""
    layer = ModulatedDeformConv(4, 6, bias=True)
    torch.nn.init.normal_(layer.conv.bias)
    x = torch.randn(2, 4, 9, 7)
    expected = 0.5 * F.conv2d(x, layer.conv.weight, padding=1) + layer.conv.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected)
    assert list(layer.state_dict()) == ["offset.weight", "offset.bias", "conv.weight", "conv.bias"]


def test_the_first_two_thirds_are_offsets_and_the_rest_the_masks_logits():
    prediction = torch.randn(2, 54, 3, 4)
    offsets, mask = split_offsets(prediction)
    assert torch.equal(offsets, prediction[:, :36])
    assert torch.equal(mask, torch.sigmoid(prediction[:, 36:]))


def test_initial_values_are_detectron2s():
    convolution = DeformConv(64, 64, 3, groups=4, bias=True)
    bound = math.sqrt(6 / (16 * 9))
    assert 0.98 * bound < convolution.weight.abs().max() <= bound
    assert not convolution.bias.any()


def test_norm_and_activation_follow():
    norm = torch.nn.BatchNorm2d(3).eval()
    norm.running_mean.fill_(0.5)
    convolution = DeformConv(3, 3, 3, padding=1, norm=norm, activation=F.relu)
    x, offsets = torch.randn(1, 3, 5, 5), torch.zeros(1, 18, 5, 5)
    expected = F.relu(norm(F.conv2d(x, convolution.weight, padding=1)))
    torch.testing.assert_close(convolution(x, offsets), expected)


def test_reduced_precision_samples_in_full_precision():
    """Half precision has no fractions of a pixel left at the far side of a large map."""
    convolution = DeformConv(1, 1, 1).to(torch.bfloat16)
    torch.nn.init.ones_(convolution.weight)
    x = torch.zeros(1, 1, 1, 514)
    x[..., 512] = 1
    offsets = torch.zeros(1, 2, 1, 514)
    offsets[:, 1] = 0.25
    found = convolution(x.bfloat16(), offsets.bfloat16())
    assert found.dtype == torch.bfloat16
    assert found[0, 0, 0, 510:514].tolist() == [0, 0.25, 0.75, 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_trains(dtype):
    layer = ModulatedDeformConv(4, 4)
    torch.nn.init.normal_(layer.offset.weight, std=0.1)
    x = torch.randn(2, 4, 8, 8)
    with torch.autocast("cpu", dtype=dtype):
        found = layer(F.conv2d(x, torch.eye(4)[:, :, None, None]))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), layer(x), atol=0.05, rtol=0.05)
    found.float().square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in layer.parameters())


def test_no_image():
    layer = ModulatedDeformConv(4, 6, stride=2)
    assert layer(torch.zeros(0, 4, 9, 7)).shape == (0, 6, 5, 4)
