from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from centernet2.modeling.centernet.grid import make_grid
from centernet2.modeling.centernet.heatmap import Peaks
from centernet2.modeling.centernet.losses import (
    LossParams,
    box_regression_loss,
    heatmap_losses,
)

from ...layers import reference

PARAMS = LossParams(pos_weight=0.5, neg_weight=0.7, reg_weight=2.0)


LEVELS = [(3, 2), (1, 2)]  # 8 cells an image
NUMBERS = {"alpha": 0.25, "beta": 4, "gamma": 2, "clamp": 1e-4, "ignore_high_fp": -1}


def _losses(
    logits: np.ndarray, target: np.ndarray, positives: list[tuple[int, int]], *rest: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of ``(B * M, C)`` logits and targets, brought into the form of maps and of peaks."""
    cells, images = sum(h * w for h, w in LEVELS), len(logits) // 8
    by_image = torch.tensor(logits).view(images, cells, -1)
    maps, first = [], 0
    for height, width in LEVELS:
        level = by_image[:, first : first + height * width].transpose(1, 2)
        maps.append(level.reshape(images, -1, height, width))
        first += height * width
    cell, channel = torch.tensor(target).nonzero(as_tuple=True)
    peaks = Peaks(cell, channel, torch.tensor(target)[cell, channel])
    at = torch.tensor(positives, dtype=torch.int64).view(-1, 2)
    return heatmap_losses(make_grid(LEVELS, (8, 16)), maps, peaks, at[:, 0], at[:, 1], *rest)


@pytest.mark.parametrize("num_pos", [1, 3.5, torch.tensor(7.0)])
def test_heatmap_losses_are_divided_by_the_positives_and_weighted(num_pos):
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(16, 3)), rng.uniform(size=(16, 3)).round(1)
    positives = [(0, 0), (5, 2), (5, 2), (15, 1)]
    flat = [cell * 3 + channel for cell, channel in positives]
    expected = reference.heatmap_focal_loss(logits, target, flat, **NUMBERS)
    got = _losses(logits, target, positives, num_pos, PARAMS)
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
    got = _losses(logits, target, [(1, 1), (4, 1)], 1.0, params)
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
    logits = torch.randn(1, 2, 3, 2, requires_grad=True)
    boxes = torch.zeros(0, 4, requires_grad=True)
    nothing = torch.zeros(0, dtype=torch.int64)
    peaks = Peaks(nothing, nothing, torch.zeros(0))
    grid = make_grid([(3, 2)], [8])
    losses = [
        *heatmap_losses(grid, [logits], peaks, nothing, nothing, 1.0, PARAMS),
        box_regression_loss(boxes, torch.zeros(0, 4), torch.zeros(0), 1.0, PARAMS),
    ]
    sum(losses).backward()
    assert losses[0].item() == losses[2].item() == 0.0
    assert logits.grad.abs().sum() > 0
    assert boxes.grad is not None
