"""Values of the box predictor's losses and scores against the plain reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from centernet2.errors import UserError
from centernet2.modeling.roi_heads.box_predictor import (
    CenterNetOutputLayers,
    multiply_proposal_scores,
)
from centernet2.modeling.roi_heads.classification_losses import federated_classes

from . import reference

NUM_CLASSES = 6
COUNTS = torch.tensor([400.0, 9.0, 100.0, 25.0, 0.0, 16.0])


def _predictor(loss: str, **options: Any) -> CenterNetOutputLayers:
    return CenterNetOutputLayers(
        ShapeSpec(channels=5),
        box2box_transform=Box2BoxTransform((10.0, 10.0, 5.0, 5.0)),
        num_classes=NUM_CLASSES,
        cls_agnostic_bbox_reg=True,
        classification_loss=loss,
        **options,
    )


def _rois(labels: list[int]) -> Instances:
    rois = Instances((64, 64))
    corner = torch.rand(len(labels), 2) * 30
    rois.proposal_boxes = Boxes(torch.cat([corner, corner + 20], dim=1))
    rois.gt_boxes = Boxes(torch.cat([corner + 1, corner + 22], dim=1))
    rois.gt_classes = torch.tensor(labels, dtype=torch.int64)
    return rois


def _loss(
    predictor: CenterNetOutputLayers, scores: torch.Tensor, labels: list[int], seed: int = 0
) -> float:
    half = len(labels) // 2
    deltas = torch.zeros(len(labels), 4)
    rois = [_rois(labels[:half]), _rois(labels[half:])]
    torch.manual_seed(seed)
    with EventStorage():
        losses = predictor.losses((scores, deltas), rois)
    return float(losses["loss_cls"])


LABELS = [0, NUM_CLASSES, 3, 3, NUM_CLASSES, 5, 1]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("softmax", reference.softmax_loss),
        ("sigmoid", reference.sigmoid_loss),
        # In fewer than 25 images: classes 1, 4 and 5, not 3 with exactly 25
        ("eql", lambda x, y: reference.sigmoid_loss(x, y, tail_classes={1, 4, 5})),
    ],
)
def test_classification_loss_is_the_one_named(loss, expected):
    predictor = _predictor(loss, image_counts=lambda: COUNTS, eql_freq_cat=25)
    scores = torch.randn(len(LABELS), NUM_CLASSES + 1)
    value = expected(scores.double().numpy(), LABELS)
    assert _loss(predictor, scores, LABELS) == pytest.approx(value, rel=1e-5)


def test_equalization_loss_spares_the_number_of_rarest_classes_asked_for():
    scores = torch.randn(len(LABELS), NUM_CLASSES + 1)
    # In 0, 9, 16 and 25 images; by EQL_FREQ_CAT it would be all but class 0
    predictor = _predictor("eql", image_counts=lambda: COUNTS, eql_freq_cat=200, eql_num_rarest=4)
    value = reference.sigmoid_loss(scores.double().numpy(), LABELS, tail_classes={1, 3, 4, 5})
    assert _loss(predictor, scores, LABELS) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "number", "words"),
    [
        ("eql", -1, "EQL_NUM_RAREST is -1.*from 0 to .*NUM_CLASSES, which is 6"),
        ("eql", NUM_CLASSES + 1, "EQL_NUM_RAREST is 7.*NUM_CLASSES, which is 6"),
        ("sigmoid", 3, "EQL_NUM_RAREST is 3.*USE_EQL_LOSS"),
        ("federated", 3, "EQL_NUM_RAREST is 3.*USE_EQL_LOSS"),
    ],
)
def test_a_number_of_rarest_classes_that_cannot_be_is_refused(loss, number, words):
    with pytest.raises(UserError, match=words):
        _predictor(loss, eql_num_rarest=number)


def test_all_classes_may_be_the_rarest():
    assert _predictor("eql", eql_num_rarest=NUM_CLASSES).eql_num_rarest == NUM_CLASSES


def test_federated_loss_counts_the_drawn_classes_over_all_rois():
    predictor = _predictor(
        "federated",
        image_counts=lambda: COUNTS,
        fed_loss_num_classes=4,
        fed_loss_freq_power=0.5,
    )
    labels = [0, NUM_CLASSES, 0, NUM_CLASSES]
    scores = torch.randn(len(labels), NUM_CLASSES + 1)
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        (mask,) = federated_classes(torch.tensor(labels), [4], COUNTS.sqrt(), 4)
        drawn = set(torch.nonzero(mask).flatten().tolist())
        assert 0 in drawn
        assert 4 not in drawn  # in no image
        assert len(drawn) == 3  # the background is the fourth
        seen.add(frozenset(drawn))
        expected = reference.sigmoid_loss(scores.double().numpy(), labels, only_classes=drawn)
        assert _loss(predictor, scores, labels, seed) == pytest.approx(expected, rel=1e-5)
    assert len(seen) > 1


def test_federated_loss_per_image_counts_the_classes_of_each_image_over_its_rois():
    predictor = _predictor(
        "federated", image_counts=lambda: COUNTS, fed_loss_num_classes=3, fed_loss_per_image=True
    )
    labels = [0, NUM_CLASSES, 3, 3, 1]  # _loss gives the first two to the first image
    scores = torch.randn(len(labels), NUM_CLASSES + 1)
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        masks = federated_classes(torch.tensor(labels), [2, 3], COUNTS.sqrt(), 3)
        first, second = (set(torch.nonzero(mask).flatten().tolist()) for mask in masks)
        seen.add((frozenset(first), frozenset(second)))
        expected = sum(
            len(part) / len(labels) * reference.sigmoid_loss(x, part, only_classes=drawn)
            for x, part, drawn in (
                (scores[:2].double().numpy(), labels[:2], first),
                (scores[2:].double().numpy(), labels[2:], second),
            )
        )
        assert _loss(predictor, scores, labels, seed) == pytest.approx(expected, rel=1e-5)
    assert len(seen) > 1


def test_a_set_of_classes_for_each_image_needs_the_federated_loss():
    with pytest.raises(UserError, match="FED_LOSS_PER_IMAGE.*USE_FED_LOSS"):
        _predictor("sigmoid", fed_loss_per_image=True)


@pytest.mark.parametrize("loss", ["sigmoid", "eql", "federated"])
def test_probabilities_of_sigmoid_losses_start_at_the_prior(loss):
    predictor = _predictor(loss, prior_prob=0.02, image_counts=lambda: COUNTS)
    assert torch.allclose(predictor.cls_score.bias, torch.tensor(-math.log(0.98 / 0.02)))
    predictions = predictor(torch.zeros(3, 5))
    (probs,) = predictor.predict_probs(predictions, [_rois([0, 1, 2])])
    assert torch.allclose(probs, torch.tensor(0.02))


def test_probabilities_match_the_reference():
    scores = torch.randn(5, NUM_CLASSES + 1) * 4
    rois = [_rois([0, 1]), _rois([2, 3, 4])]
    for loss in ("softmax", "sigmoid"):
        first, second = _predictor(loss).predict_probs((scores, torch.zeros(5, 4)), rois)
        expected = reference.class_probabilities(scores.double().numpy(), loss == "sigmoid")
        np.testing.assert_allclose(torch.cat([first, second]).numpy(), expected, rtol=1e-5)
        assert len(first) == 2


def test_scores_are_multiplied_by_their_own_image_and_proposal():
    rois = [_rois([0, 1]), _rois([2])]
    rois[0].objectness_logits = torch.tensor([0.25, 1.0])
    rois[1].objectness_logits = torch.tensor([0.0])
    probs = [torch.tensor([[0.16, 0.36], [0.49, 0.0]]), torch.tensor([[0.5, 0.5]])]
    first, second = multiply_proposal_scores(probs, rois)
    np.testing.assert_allclose(first.numpy(), [[0.2, 0.3], [0.7, 0.0]], rtol=1e-6)
    assert second.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("softmax", {}),
        ("sigmoid", {}),
        ("eql", {}),
        ("federated", {}),
        ("federated", {"fed_loss_per_image": True}),
    ],
)
def test_no_rois_give_losses_that_reach_every_output(loss, options):
    predictor = _predictor(loss, image_counts=lambda: COUNTS, **options)
    predictions = predictor(torch.zeros(0, 5))
    losses = predictor.losses(predictions, [_rois([])])
    sum(losses.values()).backward()
    assert all(float(value.detach()) == 0.0 for value in losses.values())
    for name, parameter in predictor.named_parameters():
        assert parameter.grad is not None, name


@pytest.mark.parametrize("loss", ["eql", "federated"])
def test_losses_by_frequency_say_when_they_lack_it(loss):
    with pytest.raises(ValueError, match="image_counts"):
        _loss(_predictor(loss), torch.zeros(4, NUM_CLASSES + 1), [0, 1, 2, 6])


def test_unknown_loss_is_named():
    with pytest.raises(ValueError, match="focal"):
        _predictor("focal")
