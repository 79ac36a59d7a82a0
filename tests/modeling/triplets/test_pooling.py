"""Pooling against loops over the cells, values and gradients, with many equal elements."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.modeling.triplets import pooling

# Axis and direction of the scan: top pooling visits the rows from below
SCANS = {
    "top_pool": (-2, True),
    "bottom_pool": (-2, False),
    "left_pool": (-1, True),
    "right_pool": (-1, False),
}
SHAPES = [(2, 3, 5, 7), (1, 2, 8, 8), (1, 1, 1, 1), (1, 1, 1, 6), (2, 1, 13, 1), (1, 2, 127, 64)]


def slow(x, grad, name):
    """Visit the cells one by one; only a strictly greater one becomes the maximum."""
    axis, backwards = SCANS[name]
    values, grads, out, given = (t.movedim(axis, -1).reshape(-1, t.shape[axis]).tolist() for t in (
        x, torch.zeros_like(x), x, grad,
    ))  # fmt: skip
    for line, back, result, g in zip(values, grads, out, given):
        best = None
        order = range(len(line))
        for i in reversed(order) if backwards else order:
            if best is None or line[i] > line[best]:
                best = i
            result[i] = line[best]
            back[best] += g[i]

    def restored(rows):
        shape = x.movedim(axis, -1).shape
        return torch.tensor(rows, dtype=x.dtype).reshape(shape).movedim(-1, axis)

    return restored(out), restored(grads)


def with_ties(shape, seed=0, levels=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, levels, shape, generator=generator).double()


def value_and_gradient(function, x, grad):
    x = x.clone().requires_grad_()
    out = function(x)
    out.backward(grad)
    return out.detach(), x.grad


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("levels", [1, 3, 10_000])
def test_values_and_gradients_are_those_of_the_loop(name, shape, levels):
    x = with_ties(shape, levels=levels)
    grad = torch.randint(-8, 8, shape).double()
    expected, expected_grad = slow(x, grad, name)
    out, x_grad = value_and_gradient(getattr(pooling, name), x, grad)
    assert torch.equal(out, expected)
    assert torch.equal(x_grad, expected_grad)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(SCANS)),
    st.integers(1, 70),
    st.integers(1, 6),
    st.integers(0, 10**6),
)
def test_any_size(name, long, short, seed):
    shape = (1, 1, long, short) if SCANS[name][0] == -2 else (1, 1, short, long)
    x = with_ties(shape, seed)
    grad = with_ties(shape, seed + 1)
    out, x_grad = value_and_gradient(getattr(pooling, name), x, grad)
    expected, expected_grad = slow(x, grad, name)
    assert torch.equal(out, expected) and torch.equal(x_grad, expected_grad)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("column_max", "top_pool", "bottom_pool"), ("row_max", "left_pool", "right_pool")],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_whole_lines_are_two_opposite_scans(name, first, second, shape):
    x = with_ties(shape)
    grad = torch.randint(-8, 8, shape).double()
    inner, _ = slow(x, grad, first)
    expected, inner_grad = slow(inner, grad, second)
    _, expected_grad = slow(x, inner_grad, first)
    out, x_grad = value_and_gradient(getattr(pooling, name), x, grad)
    assert torch.equal(out, expected)
    assert torch.equal(x_grad, expected_grad)


@pytest.mark.parametrize("name", [*SCANS, "column_max", "row_max"])
def test_gradients_by_finite_differences(name):
    generator = torch.Generator().manual_seed(3)
    # Distinct values with gaps that no small step closes
    x = torch.randperm(2 * 4 * 5, generator=generator).double().view(1, 2, 4, 5).requires_grad_()
    function = getattr(pooling, name)
    assert torch.autograd.gradcheck(function, (x,))
    assert torch.autograd.gradgradcheck(function, (x,))


@pytest.mark.parametrize("name", [*SCANS, "column_max", "row_max"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_precision_and_layout_make_no_difference(name, dtype):
    x = torch.randn(2, 4, 9, 6, dtype=dtype)
    function = getattr(pooling, name)
    expected = function(x.double())
    kept = x.clone()
    assert torch.equal(function(x).double(), expected)
    assert torch.equal(function(x.to(memory_format=torch.channels_last)).double(), expected)
    transposed = x.transpose(-1, -2).contiguous().transpose(-1, -2)
    assert torch.equal(function(transposed).double(), expected)
    assert torch.equal(x, kept), "the input was changed"


def test_extremes():
    x = torch.tensor([[float("-inf"), -(2.0**80), float("inf"), 0.0]]).view(1, 1, 1, 4)
    assert pooling.right_pool(x).flatten().tolist() == [
        float("-inf"),
        -(2.0**80),
        *[float("inf")] * 2,
    ]
    nan = torch.tensor([1.0, float("nan"), 2.0]).view(1, 1, 1, 3)
    assert pooling.right_pool(nan).isnan().flatten().tolist() == [False, True, True]
    assert pooling.row_max(nan).isnan().all()
    out, grad = value_and_gradient(pooling.row_max, nan, torch.ones_like(nan))
    assert out.shape == grad.shape == nan.shape


def test_lines_longer_than_16_bits_count() -> None:
    x = torch.zeros(1, 1, 1, 40_000)
    x[..., 39_000] = 1
    for function, equal in ((pooling.right_pool, 1000), (pooling.row_max, 40_000)):
        out, grad = value_and_gradient(function, x, torch.ones_like(x))
        assert out.sum() == equal and grad[..., 39_000] == equal


@pytest.mark.parametrize("function", [pooling.right_pool, pooling.row_max])
def test_gradients_of_half_precision_are_summed_in_full(function):
    x = torch.zeros(1, 1, 1, 2000, dtype=torch.bfloat16)
    x[..., 0] = 1
    _, grad = value_and_gradient(function, x, torch.ones_like(x))
    assert grad[..., 0].item() == 2000


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", [*SCANS, "column_max", "row_max"])
def test_on_a_gpu_it_is_the_same(name):
    x, grad = with_ties((2, 3, 37, 50)), with_ties((2, 3, 37, 50), 1)
    function = getattr(pooling, name)
    expected = value_and_gradient(function, x, grad)
    for mine, other in zip(value_and_gradient(function, x.cuda(), grad.cuda()), expected):
        assert torch.equal(mine.cpu(), other)
