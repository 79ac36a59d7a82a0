"""Whole models: a training step and an inference, on usual and on empty inputs."""

from __future__ import annotations

import math

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

CONFIGS = [
    "CenterNet2_R50_1x.yaml",
    "CenterNet2-F_R50_1x.yaml",
    "CenterNet-FPN_R50_1x.yaml",
    "small/Base-CenterNet2-MobileNetV2.yaml",
    "small/CascadeRCNN_MobileNetV2_pennfudan.yaml",
    "LVIS_CenterNet2_R50_1x.yaml",
]


def train_step(model, batch):
    model.train()
    with EventStorage(0):
        losses = model(batch)
    sum(losses.values()).backward()
    return {name: value.item() for name, value in losses.items()}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("counts", [[3, 5], [4, 0], [0, 0]], ids=["objects", "one empty", "empty"])
def test_a_step_gives_finite_losses_and_a_gradient_everywhere(
    config, counts, load_config, make_batch
):
    model = build_model(load_config(config))
    losses = train_step(model, make_batch(counts))
    assert losses and all(math.isfinite(v) for v in losses.values()), losses
    trained = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert not [name for name, grad in trained.items() if grad is None]
    assert not [name for name, grad in trained.items() if not torch.isfinite(grad).all()]


@pytest.mark.parametrize("config", CONFIGS)
def test_inference_returns_boxes_in_the_image_with_sorted_scores(config, load_config, make_batch):
    model = build_model(load_config(config)).eval()
    with torch.no_grad():
        results = model(make_batch([1, 1, 1], height=96, width=128))
    assert len(results) == 3
    for result in results:
        found = result["instances"]
        assert found.image_size == (96, 128)
        boxes = found.pred_boxes.tensor
        assert (boxes >= 0).all() and (boxes[:, 2] <= 128).all() and (boxes[:, 3] <= 96).all()
        assert (found.scores.diff() <= 0).all()
        if model.__class__.__name__ == "GeneralizedRCNN" and "small" in config:
            assert found.has("pred_masks")


def test_a_step_lowers_the_loss_of_the_same_batch(load_config, make_batch):
    model = build_model(load_config("CenterNet2_R50_1x.yaml", "MODEL.ROI_HEADS.NUM_CLASSES", 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batch = make_batch([4, 4])
    totals = []
    for _ in range(12):
        optimizer.zero_grad()
        torch.manual_seed(0)
        totals.append(sum(train_step(model, batch).values()))
        optimizer.step()
    assert totals[-1] < 0.8 * totals[0]


def test_no_gradient_flows_through_proposals(load_config, make_batch):
    model = build_model(load_config("CenterNet2_R50_1x.yaml")).train()
    batch = make_batch([3])
    images = model.preprocess_image(batch)
    with EventStorage(0):
        proposals, _ = model.proposal_generator(
            images, model.backbone(images.tensor), [b["instances"] for b in batch]
        )
    assert len(proposals[0]) > 0
    assert not proposals[0].proposal_boxes.tensor.requires_grad
    assert not proposals[0].objectness_logits.requires_grad


def test_class_specific_proposals_train_the_second_stage(load_config, make_batch):
    cfg = load_config(
        "CenterNet2_R50_1x.yaml",
        "MODEL.CENTERNET.ONLY_PROPOSAL", False,
        "MODEL.CENTERNET.WITH_AGN_HM", False,
        "MODEL.CENTERNET.AS_PROPOSAL", True,
        "MODEL.CENTERNET.NUM_CLASSES", 5,
        "MODEL.ROI_HEADS.NUM_CLASSES", 5,
    )  # fmt: skip
    model = build_model(cfg)
    losses = train_step(model, make_batch([3, 2], num_classes=5))
    assert {"loss_centernet_pos", "loss_centernet_neg", "loss_cls_stage2"} <= set(losses)
    assert not [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_a_second_model_does_not_change_the_first(load_config, make_batch):
    first = build_model(load_config("CenterNet2_R50_1x.yaml")).eval()
    batch = make_batch([1])
    with torch.no_grad():
        before = first(batch)[0]["instances"]
        build_model(
            load_config("CenterNet2_R50_1x.yaml", "MODEL.ROI_BOX_HEAD.MULT_PROPOSAL_SCORE", False)
        )
        after = first(batch)[0]["instances"]
    assert first.roi_heads.mult_proposal_score
    assert torch.equal(before.scores, after.scores)


def test_bfloat16_autocast_trains_with_finite_losses(load_config, make_batch):
    model = build_model(load_config("CenterNet2_R50_1x.yaml"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = train_step(model, make_batch([3, 2]))
    assert all(math.isfinite(v) for v in losses.values())


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("MODEL.CENTERNET.IN_FEATURES", ["p3", "p9"], "p9"),
        ("MODEL.CENTERNET.FPN_STRIDES", [4, 8, 16, 32, 64], "FPN_STRIDES"),
        ("MODEL.CENTERNET.SOI", [[0, 1]], "SOI"),
        ("MODEL.CENTERNET.WITH_AGN_HM", False, "WITH_AGN_HM"),
        ("MODEL.FPN.OUT_CHANNELS", 48, "OUT_CHANNELS"),
        ("MODEL.ROI_BOX_HEAD.USE_FED_LOSS", True, "USE_SIGMOID_CE"),
    ],
)
def test_contradicting_keys_are_named(key, value, words, load_config):
    with pytest.raises(ValueError, match=words):
        build_model(load_config("CenterNet2_R50_1x.yaml", key, value))
