from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from centernet2.layers import box_loss_per_location, distance_box_loss

from . import reference

KINDS = ("giou", "iou", "linear_iou")

# From a pixel at stride 128 to an image of 4,096 pixels at stride 1
_lengths = st.one_of(
    st.just(0.0),
    st.floats(2**-7, 1.0, width=32),
    st.floats(1.0, 20.0, width=32),
    st.floats(20.0, 4096.0, width=32),
)


def _boxes(count: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, (count, 4), elements=_lengths)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), count=st.integers(0, 5), weighted=st.booleans())
def test_values_match_the_reference(kind, data, count, weighted):
    pred, target = data.draw(_boxes(count)), data.draw(_boxes(count))
    if count and data.draw(st.booleans()):
        target[0] = pred[0]
    # A cell learns only boxes that it lies strictly inside of.
    target = np.where(target > 0, target, 2**-7)
    weight = np.linspace(0.0, 1.0, count) if weighted else None
    expected = reference.distance_box_loss(pred, target, weight, kind)
    for dtype, rtol in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        got = distance_box_loss(
            torch.tensor(pred, dtype=dtype),
            torch.tensor(target, dtype=dtype),
            None if weight is None else torch.tensor(weight, dtype=dtype),
            kind=kind,
        )
        assert float(got) == pytest.approx(expected, rel=rtol, abs=rtol)


@pytest.mark.parametrize("kind", KINDS)
def test_per_location_values_match_the_reference(kind):
    rng = np.random.default_rng(1)
    pred, target = rng.uniform(0, 9, (20, 4)), rng.uniform(0, 9, (20, 4))
    got = box_loss_per_location(torch.tensor(pred), torch.tensor(target), kind)
    expected = [reference.single_box_loss(p, t, kind) for p, t in zip(pred, target)]
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-9)


def test_overlap_has_one_added_above_and_below():
    pred, target = torch.tensor([[1.0, 1, 1, 1]]), torch.tensor([[1.0, 1, 1, 0]])
    # I = 2, U = 4, A = 4
    iou = 3 / 5
    assert float(distance_box_loss(pred, target, kind="linear_iou")) == pytest.approx(1 - iou)
    assert float(distance_box_loss(pred, target, kind="iou")) == pytest.approx(-math.log(iou))
    assert float(distance_box_loss(pred, target, kind="giou")) == pytest.approx(1 - iou)


def test_giou_takes_the_empty_part_of_the_enclosing_box_without_the_ones():
    pred, target = torch.tensor([[4.0, 1, 0, 0]]), torch.tensor([[0.0, 0, 1, 3]])
    # Areas 4 and 3 that meet in the location only: I = 0, U = 7, A = 5 * 4
    expected = 1 - (1 / 8 - 13 / 20)
    assert float(distance_box_loss(pred, target, kind="giou")) == pytest.approx(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_boxes_cost_nothing(kind):
    box = torch.tensor([[0.5, 2.0, 3.0, 1e3]])
    assert float(distance_box_loss(box, box, kind=kind)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_match_numerical_differentiation(kind):
    torch.manual_seed(5)
    pred = (torch.rand(6, 4, dtype=torch.float64) * 5 + 0.05).requires_grad_()
    target = torch.rand(6, 4, dtype=torch.float64) * 5 + 0.05
    weight = torch.rand(6, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda p: distance_box_loss(p, target, weight, kind=kind), (pred,)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_prediction_without_extent_has_a_finite_gradient(kind):
    target = [2.0, 1.0, 3.0, 0.5]
    pred = torch.zeros(1, 4, requires_grad=True)
    loss = distance_box_loss(pred, torch.tensor([target]), kind=kind)
    loss.backward()
    expected = reference.single_box_loss([0.0] * 4, target, kind)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert torch.isfinite(pred.grad).all()


@pytest.mark.parametrize("kind", KINDS)
def test_two_boxes_without_extent_are_finite(kind):
    # MORE_POS compares predictions with empty boxes; the enclosing area is zero here.
    pred = torch.zeros(1, 4, requires_grad=True)
    loss = distance_box_loss(pred, torch.zeros(1, 4), kind=kind)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(pred.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_areas_do_not_overflow(dtype):
    pred = torch.full((1, 4), 512.0, dtype=dtype)
    target = torch.full((1, 4), 256.0, dtype=dtype)
    got = float(distance_box_loss(pred, target, kind="giou"))
    expected = reference.single_box_loss([512.0] * 4, [256.0] * 4, "giou")
    assert got == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_no_boxes_give_a_zero_that_reaches_the_prediction(kind):
    pred = torch.zeros(0, 4, requires_grad=True)
    loss = distance_box_loss(pred, torch.zeros(0, 4), torch.zeros(0), kind=kind)
    assert float(loss.detach()) == 0.0
    loss.backward()
    assert pred.grad is not None


def test_unknown_kind_is_named():
    with pytest.raises(ValueError, match="ciou"):
        distance_box_loss(torch.zeros(1, 4), torch.zeros(1, 4), kind="ciou")
