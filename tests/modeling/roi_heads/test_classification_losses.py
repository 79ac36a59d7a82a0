from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.modeling.roi_heads.classification_losses import (
    equalization_weight,
    rarest_classes,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)

from . import reference


@st.composite
def _cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Logits (R, C + 1) and labels in [0, C], background among them."""
    rois, classes = draw(st.integers(1, 8)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    logits = rng.normal(scale=draw(st.sampled_from([1.0, 20.0])), size=(rois, classes + 1))
    labels = draw(st.lists(st.integers(0, classes), min_size=rois, max_size=rois))
    return logits.astype(np.float32).astype(np.float64), np.array(labels)


def _tail(classes: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(size=classes) < 0.5)


@settings(max_examples=60, deadline=None)
@given(case=_cases(), seed=st.integers(0, 99))
def test_values_match_the_reference(case, seed):
    logits, labels = case
    classes = logits.shape[1] - 1
    is_tail = _tail(classes, seed)
    tail_classes = set(torch.nonzero(is_tail).flatten().tolist())
    subset = set(torch.nonzero(_tail(classes, seed + 1)).flatten().tolist())
    subset_weight = torch.tensor([float(j in subset) for j in range(classes)])
    x, y = torch.tensor(logits, dtype=torch.float32), torch.tensor(labels)
    checks = [
        (softmax_cross_entropy(x, y), reference.softmax_loss(logits, labels)),
        (sigmoid_cross_entropy(x, y), reference.sigmoid_loss(logits, labels)),
        (
            sigmoid_cross_entropy(x, y, equalization_weight(y, is_tail)),
            reference.sigmoid_loss(logits, labels, tail_classes=tail_classes),
        ),
        (
            sigmoid_cross_entropy(x, y, subset_weight),
            reference.sigmoid_loss(logits, labels, only_classes=subset),
        ),
    ]
    for got, expected in checks:
        assert float(got) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "equalization", "federated"])
def test_gradients_match_differences_of_the_reference(kind):
    rng = np.random.default_rng(1)
    logits = rng.normal(scale=3.0, size=(5, 5)).astype(np.float32).astype(np.float64)
    labels = [0, 4, 2, 4, 3]
    y = torch.tensor(labels)

    def plain(values: np.ndarray) -> float:
        if kind == "softmax":
            return reference.softmax_loss(values, labels)
        tail = {0, 2} if kind == "equalization" else ()
        only = {0, 2, 3} if kind == "federated" else None
        return reference.sigmoid_loss(values, labels, tail_classes=tail, only_classes=only)

    x = torch.tensor(logits, dtype=torch.float32, requires_grad=True)
    if kind == "softmax":
        loss = softmax_cross_entropy(x, y)
    else:
        weights = {
            "sigmoid": None,
            "equalization": equalization_weight(y, torch.tensor([True, False, True, False])),
            "federated": torch.tensor([1.0, 0.0, 1.0, 1.0]),
        }
        loss = sigmoid_cross_entropy(x, y, weights[kind])
    loss.backward()

    step = 1e-5
    for index in np.ndindex(logits.shape):
        above, below = logits.copy(), logits.copy()
        above[index] += step
        below[index] -= step
        slope = (plain(above) - plain(below)) / (2 * step)
        assert float(x.grad[index]) == pytest.approx(slope, rel=1e-4, abs=1e-7)


def test_last_logit_plays_no_part_in_sigmoid_losses():
    logits = torch.randn(3, 4, requires_grad=True)
    sigmoid_cross_entropy(logits, torch.tensor([0, 3, 1])).backward()
    assert not logits.grad[:, 3].any()
    assert logits.grad[:, :3].all()


def test_tail_classes_are_spared_by_other_objects_only():
    # Class 0 is a tail class. RoIs: of class 1, of class 0, background.
    weight = equalization_weight(torch.tensor([1, 0, 2]), torch.tensor([True, False]))
    assert weight.float().tolist() == [[0.0, 1.0], [1.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    ("number", "rarest"),
    [(0, []), (1, [3]), (2, [1, 3]), (3, [1, 2, 3]), (4, [1, 2, 3, 5]), (6, [0, 1, 2, 3, 4, 5])],
)
def test_the_rarest_classes_are_those_of_fewest_images_then_of_lowest_ids(number, rarest):
    mask = rarest_classes(torch.tensor([8.0, 2.0, 2.0, 0.0, 8.0, 5.0]), number)
    assert torch.nonzero(mask).flatten().tolist() == rarest


def test_ties_go_to_the_lower_ids_among_many_classes():
    # An unstable sort keeps the order of a few classes, not of this many
    counts = torch.tensor([1.0, 0.0]).repeat(600)
    mask = rarest_classes(counts, 900)
    assert torch.nonzero(mask).flatten().tolist() == sorted([*range(1, 1200, 2), *range(0, 600, 2)])


@pytest.mark.parametrize("loss", [softmax_cross_entropy, sigmoid_cross_entropy])
def test_no_rois_give_a_zero_that_reaches_the_logits(loss):
    logits = torch.zeros(0, 4, requires_grad=True)
    value = loss(logits, torch.zeros(0, dtype=torch.int64))
    assert float(value.detach()) == 0.0
    value.backward()
    assert logits.grad is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_give_losses_of_full_precision(dtype):
    logits = (torch.randn(64, 301) * 8).to(dtype)
    labels = torch.randint(0, 301, (64,))
    # The sum over 64 x 300 terms has far more digits than half precision.
    expected = reference.sigmoid_loss(logits.double().numpy(), labels.tolist())
    assert float(sigmoid_cross_entropy(logits, labels)) == pytest.approx(expected, rel=1e-4)
