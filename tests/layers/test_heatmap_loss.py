from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.layers import heatmap_focal_loss, heatmap_loss

from . import reference

PUBLISHED = {"alpha": 0.25, "beta": 4.0, "gamma": 2.0, "clamp": 1e-4, "ignore_high_fp": -1.0}


def _random_case(
    seed: int, cells: int, classes: int, positives: int, spread: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (cells, classes) if classes else (cells,)
    logits = rng.normal(scale=spread, size=shape).astype(np.float32).astype(np.float64)
    target = rng.choice([0.0, 1.0, 0.5, 0.999, 1e-4], size=shape)
    pos_index = rng.integers(0, logits.size, size=positives)
    return logits, target, pos_index


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    cells=st.integers(1, 30),
    classes=st.integers(0, 4),
    positives=st.integers(0, 6),
    spread=st.sampled_from([0.5, 4.0, 30.0]),
    alpha=st.sampled_from([0.25, 0.9, 0.0, -1.0]),
    beta=st.sampled_from([4.0, 1.0, 0.0]),
    gamma=st.sampled_from([2.0, 1.5, 0.0]),
    clamp=st.sampled_from([1e-4, 1e-2, 1e-6]),
    ignore_high_fp=st.sampled_from([-1.0, 0.0, 0.5, 0.85]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_values_match_the_reference(
    seed, cells, classes, positives, spread, alpha, beta, gamma, clamp, ignore_high_fp, dtype
):
    logits, target, pos_index = _random_case(seed, cells, classes, positives, spread)
    numbers = {
        "alpha": alpha,
        "beta": beta,
        "gamma": gamma,
        "clamp": clamp,
        "ignore_high_fp": ignore_high_fp,
    }
    expected = reference.heatmap_focal_loss(logits, target, pos_index, **numbers)
    got = heatmap_focal_loss(
        torch.tensor(logits, dtype=dtype),
        torch.tensor(target, dtype=dtype),
        torch.tensor(pos_index),
        **numbers,
    )
    # 1 - clamp itself has a relative error of 6e-8 / clamp in float32.
    rtol = 1e-9 if dtype == torch.float64 else 1e-5 + 1e-6 * (1e-4 / clamp)
    assert float(got[0]) == pytest.approx(expected[0], rel=rtol, abs=1e-6)
    assert float(got[1]) == pytest.approx(expected[1], rel=rtol, abs=1e-6)


def test_repeated_positives_count_each_time():
    logits = torch.tensor([0.3, -1.0], dtype=torch.float64)
    target = torch.zeros(2, dtype=torch.float64)
    once = heatmap_focal_loss(logits, target, torch.tensor([1]), **PUBLISHED)[0]
    thrice = heatmap_focal_loss(logits, target, torch.tensor([1, 1, 1]), **PUBLISHED)[0]
    assert float(thrice) == pytest.approx(3 * float(once))


def test_positive_index_runs_over_cells_and_classes():
    logits = torch.tensor([[-9.0, -9.0], [-9.0, 0.0], [-9.0, -9.0]])
    target = torch.zeros(3, 2)
    got = heatmap_focal_loss(logits, target, torch.tensor([3]), **PUBLISHED)[0]
    assert float(got) == pytest.approx(0.25 * 0.25 * np.log(2.0), rel=1e-5)


def test_target_of_one_is_no_negative_even_where_it_is_no_positive():
    logits = torch.tensor([5.0])
    no_positive = torch.zeros(0, dtype=torch.int64)
    negative = heatmap_focal_loss(logits, torch.ones(1), no_positive, **PUBLISHED)[1]
    assert float(negative) == 0.0


@pytest.mark.parametrize("ignore_high_fp", [-1.0, 0.85])
@pytest.mark.parametrize("part", [0, 1])
def test_gradients_match_numerical_differentiation(part, ignore_high_fp):
    # Away from the clamp and from the threshold, where the value has no kink.
    torch.manual_seed(3)
    logits = torch.randn(7, 3, dtype=torch.float64).clamp(-4, 4)
    assert ((logits.sigmoid() - 0.85).abs() > 1e-3).all()
    target = torch.rand(7, 3, dtype=torch.float64)
    pos_index = torch.tensor([0, 4, 4, 20])
    numbers = {**PUBLISHED, "ignore_high_fp": ignore_high_fp}

    def loss(x: torch.Tensor) -> torch.Tensor:
        return heatmap_focal_loss(x, target, pos_index, **numbers)[part]

    assert torch.autograd.gradcheck(loss, (logits.requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [12.0, 40.0, 1000.0])
def test_saturated_mistakes_keep_their_value_and_a_full_gradient(size, dtype):
    logits = torch.tensor([-size, size], dtype=dtype, requires_grad=True)
    target = torch.zeros(2)
    positive, negative = heatmap_focal_loss(logits, target, torch.tensor([0]), **PUBLISHED)
    expected = reference.heatmap_focal_loss(np.array([-size, size]), np.zeros(2), [0], **PUBLISHED)
    assert float(positive.detach()) == pytest.approx(expected[0], rel=2e-3)
    assert float(negative.detach()) == pytest.approx(expected[1], rel=2e-3)

    (pull,) = torch.autograd.grad(positive, logits, retain_graph=True)
    (push,) = torch.autograd.grad(negative, logits)
    # The loss without a clamp has slope -alpha and 1 - alpha per logit out there.
    assert -0.30 < float(pull[0]) < -0.20
    assert 0.70 < float(push[1]) < 0.80


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [12.0, 40.0, 1000.0])
def test_saturated_and_right_gives_finite_and_almost_no_gradient(size, dtype):
    logits = torch.tensor([size, -size], dtype=dtype, requires_grad=True)
    losses = heatmap_focal_loss(logits, torch.tensor([1.0, 0.0]), torch.tensor([0]), **PUBLISHED)
    (grad,) = torch.autograd.grad(sum(losses), logits)
    assert torch.isfinite(grad).all()
    assert float(grad.abs().max()) < 1e-3


def test_ignored_false_positives_get_no_gradient():
    logits = torch.tensor([4.0, 1.0], requires_grad=True)
    numbers = {**PUBLISHED, "ignore_high_fp": 0.85}
    no_positive = torch.zeros(0, dtype=torch.int64)
    negative = heatmap_focal_loss(logits, torch.zeros(2), no_positive, **numbers)[1]
    negative.backward()
    assert float(logits.grad[0]) == 0.0
    assert float(logits.grad[1]) > 0.0


def test_ignoring_false_positives_spares_no_positive():
    logits = torch.tensor([4.0])
    numbers = {**PUBLISHED, "ignore_high_fp": 0.5}
    positive = heatmap_focal_loss(logits, torch.ones(1), torch.tensor([0]), **numbers)[0]
    assert float(positive) > 0.0


def test_logits_are_left_as_they_were():
    logits = torch.randn(5, 2)
    before = logits.clone()
    heatmap_focal_loss(logits, torch.zeros(5, 2), torch.tensor([1]), **PUBLISHED)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (4, 2)])
def test_nothing_to_learn_gives_zeros_that_reach_the_logits(shape):
    logits = torch.randn(shape, requires_grad=True)
    no_positive = torch.zeros(0, dtype=torch.int64)
    positive, negative = heatmap_focal_loss(logits, torch.ones(shape), no_positive, **PUBLISHED)
    assert float(positive.detach()) == 0.0
    assert float(negative.detach()) == 0.0
    (positive + negative).backward()
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("ignore_high_fp", [-1.0, 0.85])
def test_chunks_change_neither_value_nor_gradient(ignore_high_fp, monkeypatch):
    logits, target, pos_index = _random_case(5, 40, 3, 6, 4.0)
    numbers = {**PUBLISHED, "ignore_high_fp": ignore_high_fp}
    found = []
    for chunk in (7, 1000):
        monkeypatch.setattr(heatmap_loss, "CPU_CHUNK", chunk)
        x = torch.tensor(logits, requires_grad=True)
        losses = heatmap_focal_loss(x, torch.tensor(target), torch.tensor(pos_index), **numbers)
        (grad,) = torch.autograd.grad(losses[0] + 2 * losses[1], x)
        found.append((*losses, grad))
    for few, one in zip(*found):
        torch.testing.assert_close(few, one)


def test_half_precision_keeps_the_small_gradient_near_a_peak():
    # 1e-4 of the gradient of a plain negative: less than what half precision resolves of that
    target = torch.tensor([0.9])
    no_positive = torch.zeros(0, dtype=torch.int64)
    grads = []
    for dtype in (torch.float64, torch.bfloat16):
        x = torch.tensor([2.0], dtype=dtype, requires_grad=True)
        negative = heatmap_focal_loss(x, target.to(dtype), no_positive, **PUBLISHED)[1]
        grads.append(float(torch.autograd.grad(negative, x)[0]))
    assert grads[1] == pytest.approx(grads[0], rel=0.1)
