from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from centernet2.modeling.centernet.losses import (
    LossParams,
    box_regression_loss,
    heatmap_losses,
)

from ...layers import reference

PARAMS = LossParams(pos_weight=0.5, neg_weight=0.7, reg_weight=2.0)


@pytest.mark.parametrize("num_pos", [1, 3.5, torch.tensor(7.0)])
def test_heatmap_losses_are_divided_by_the_positives_and_weighted(num_pos):
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(20, 3)), rng.uniform(size=(20, 3))
    pos_index = [0, 17, 17, 59]
    expected = reference.heatmap_focal_loss(
        logits, target, pos_index, alpha=0.25, beta=4, gamma=2, clamp=1e-4, ignore_high_fp=-1
    )
    got = heatmap_losses(
        torch.tensor(logits), torch.tensor(target), torch.tensor(pos_index), num_pos, PARAMS
    )
    assert float(got[0]) == pytest.approx(0.5 * expected[0] / float(num_pos))
    assert float(got[1]) == pytest.approx(0.7 * expected[1] / float(num_pos))


def test_heatmap_losses_use_every_number_of_the_configuration():
    rng = np.random.default_rng(1)
    logits, target = 6 * rng.normal(size=(40, 2)), rng.uniform(size=(40, 2))
    params = LossParams(
        focal_alpha=0.6, focal_beta=1.0, focal_gamma=3.0, sigmoid_clamp=0.05, ignore_high_fp=0.7
    )
    expected = reference.heatmap_focal_loss(
        logits, target, [3, 9], alpha=0.6, beta=1, gamma=3, clamp=0.05, ignore_high_fp=0.7
    )
    got = heatmap_losses(
        torch.tensor(logits), torch.tensor(target), torch.tensor([3, 9]), 1.0, params
    )
    np.testing.assert_allclose([float(v) for v in got], expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["giou", "iou", "linear_iou"])
@pytest.mark.parametrize("weighted", [True, False])
def test_box_loss_is_weighted_and_normalised(kind, weighted):
    rng = np.random.default_rng(2)
    pred, target = rng.uniform(0, 6, (9, 4)), rng.uniform(0.1, 6, (9, 4))
    weight = rng.uniform(size=9) if weighted else np.ones(9)
    params = dataclasses.replace(PARAMS, loc_loss_type=kind)
    got = box_regression_loss(
        torch.tensor(pred), torch.tensor(target), torch.tensor(weight), 2.5, params
    )
    expected = 2.0 * reference.distance_box_loss(pred, target, weight, kind) / 2.5
    assert float(got) == pytest.approx(expected)


def test_nothing_to_learn_still_reaches_the_predictions():
    logits = torch.randn(6, 2, requires_grad=True)
    boxes = torch.zeros(0, 4, requires_grad=True)
    nothing = torch.zeros(0, dtype=torch.int64)
    losses = [
        *heatmap_losses(logits, torch.zeros(6, 2), nothing, 1.0, PARAMS),
        box_regression_loss(boxes, torch.zeros(0, 4), torch.zeros(0), 1.0, PARAMS),
    ]
    sum(losses).backward()
    assert losses[0].item() == losses[2].item() == 0.0
    assert logits.grad.abs().sum() > 0
    assert boxes.grad is not None
