"""The published models on DLA as a whole: a training step and an inference."""

from __future__ import annotations

import math

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

# One of each architecture; the others differ in schedule and data alone
CONFIGS = [
    "CenterNet-S4_DLA_8x.yaml",
    "nuImages_CenterNet2_DLA_640_8x.yaml",
    "CenterNet2_DLA-BiFPN-P3_4x.yaml",
    "CenterNet2_DLA-BiFPN-P5_640_16x.yaml",
    "CenterNet2_DLA-fcosBiFPN-P5_640_16x_ST.yaml",
]
SMALL = ["MODEL.BIFPN.OUT_CHANNELS", 32]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("counts", [[3, 5], [0, 0]], ids=["objects", "empty"])
def test_a_step_gives_finite_losses_and_a_gradient_everywhere(
    config, counts, load_config, make_batch
):
    model = build_model(load_config(config, *SMALL)).train()
    with EventStorage(0):
        losses = model(make_batch(counts))
    sum(losses.values()).backward()
    assert losses and all(math.isfinite(v.item()) for v in losses.values()), losses
    assert ("loss_mask" in losses) == ("nuImages" in config)
    trained = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert not [name for name, grad in trained.items() if grad is None]
    assert not [name for name, grad in trained.items() if not torch.isfinite(grad).all()]


@pytest.mark.parametrize("config", CONFIGS)
def test_inference_returns_boxes_in_the_image_with_sorted_scores(config, load_config, make_batch):
    model = build_model(load_config(config, *SMALL)).eval()
    with torch.no_grad():
        results = model(make_batch([1, 1], height=96, width=128))
    assert len(results) == 2
    for result in results:
        found = result["instances"]
        assert found.image_size == (96, 128)
        boxes = found.pred_boxes.tensor
        assert (boxes >= 0).all() and (boxes[:, 2] <= 128).all() and (boxes[:, 3] <= 96).all()
        assert (found.scores.diff() <= 0).all()
        if len(found):
            assert found.has("pred_masks") == ("nuImages" in config)
