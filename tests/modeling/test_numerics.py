"""Half precision, extreme boxes, numbers of classes and sizes of images, in whole models."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import nn

# Few channels, so that images of thousands of pixels take a second; all levels, heads and stages
THIN = [
    "MODEL.RESNETS.DEPTH", 50,
    "MODEL.RESNETS.NORM", "FrozenBN",
    "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS", 8,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 8,
    "MODEL.FPN.OUT_CHANNELS", 64,
    "MODEL.CENTERNET.NUM_CLS_CONVS", 1,
    "MODEL.CENTERNET.NUM_BOX_CONVS", 1,
]  # fmt: skip
TWO_STAGES, ONE_STAGE = "CenterNet2_R50_1x.yaml", "CenterNet-FPN_R50_1x.yaml"
# An untrained model detects something
LOW = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "MODEL.CENTERNET.INFERENCE_TH", 0.0]
# Of 1,600 x 1,600 pixels: all, nearly all, slivers over its whole length, the least there is
EXTREME = [
    [0, 0, 1600, 1600],
    [0.5, 0.5, 1599, 1597],
    [3, 700, 1600, 702],
    [1301, 0, 1303, 1600],
    [1300, 1300, 1301, 1301],
    [1000, 200, 1000.01, 200.01],
]


def objects(boxes: list[list[float]], height: int, width: int) -> Instances:
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes = torch.arange(len(boxes)) % 2
    return instances


def image_with(boxes: list[list[float]], height: int, width: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    truth = objects(boxes, height, width)
    return {"image": pixels, "instances": truth, "height": height, "width": width}


def step(
    model: nn.Module, batch: list[dict[str, Any]], dtype: torch.dtype | None = None
) -> dict[str, float]:
    """Losses of a step under autocast; it has given every parameter a finite gradient."""
    model.train()
    model.zero_grad()
    torch.manual_seed(0)
    with EventStorage(0), torch.autocast("cpu", dtype, enabled=dtype is not None):
        losses = model(batch)
    sum(losses.values()).backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert not [name for name, grad in trained.items() if grad is None]
    assert not [name for name, grad in trained.items() if not grad.isfinite().all()]
    return {name: value.item() for name, value in losses.items()}


def detect(model: nn.Module, batch: list[dict[str, Any]]) -> list[Instances]:
    with torch.no_grad():
        return [found["instances"] for found in model.eval()(batch)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        (TWO_STAGES, torch.bfloat16),
        (TWO_STAGES, torch.float16),
        (ONE_STAGE, torch.bfloat16),
    ],
)
def test_extreme_boxes_at_1600_pixels_train_in_half_precision(config, dtype, load_config):
    model = build_model(load_config(config, *THIN, "MODEL.CENTERNET.NUM_CLASSES", 2))
    batch = [image_with(EXTREME, 1600, 1600)]
    exact, found = step(model, batch), step(model, batch, dtype)
    assert found.keys() == exact.keys()
    assert all(map(math.isfinite, found.values()))
    # Which proposals the second stage learns from depends on roundings, the first stage does not
    for name in exact:
        if "centernet" in name:
            assert found[name] == pytest.approx(exact[name], rel=0.05), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_cascade_stage_learns_extreme_boxes_in_half_precision(dtype, load_config):
    heads = build_model(load_config(TWO_STAGES, *THIN)).roi_heads.train()
    torch.manual_seed(0)
    sides = {"p3": 200, "p4": 100, "p5": 50, "p6": 25, "p7": 13}
    features = {n: torch.randn(1, 64, side, side).to(dtype) for n, side in sides.items()}
    near = torch.tensor(EXTREME).repeat(4, 1) * (1 + 0.02 * torch.randn(24, 4))
    outside = torch.tensor([[-5000.0, -5000, 9000, 9000], [1590, 1590, 30000, 1600.5]])
    proposals = Instances((1600, 1600))
    boxes = torch.cat([near, outside])
    proposals.proposal_boxes = Boxes(
        torch.cat([boxes[:, :2], boxes[:, 2:].max(boxes[:, :2] + 0.01)], 1)
    )
    proposals.objectness_logits = torch.ones(len(boxes))

    def losses(maps: dict[str, torch.Tensor], half: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        with EventStorage(0), torch.autocast("cpu", dtype, enabled=half):
            return heads(None, maps, [proposals], [objects(EXTREME, 1600, 1600)])[1]

    exact = losses({name: value.float() for name, value in features.items()}, half=False)
    found = losses(features, half=True)
    assert len(found) == 6
    for name, value in exact.items():
        assert found[name].item() == pytest.approx(value.item(), rel=0.02, abs=1e-3), name
        assert value > 0
    sum(found.values()).backward()
    assert all(p.grad.isfinite().all() for p in heads.parameters())


@pytest.mark.parametrize("counts", [[3, 0], [0, 0]], ids=["objects", "none"])
def test_no_proposals(counts, load_config, make_batch):
    cfg = load_config(TWO_STAGES, "MODEL.CENTERNET.INFERENCE_TH", 1.1, "MODEL.MASK_ON", True)
    model = build_model(cfg)
    batch = make_batch(counts)
    losses = step(model, batch)
    assert all(map(math.isfinite, losses.values()))
    if counts == [0, 0]:
        assert losses["loss_cls_stage0"] == losses["loss_box_reg_stage2"] == 0
    for found in detect(model, batch):
        assert len(found) == 0
        assert found.pred_masks.shape == (0, 128, 160)


@pytest.mark.parametrize("config", [TWO_STAGES, ONE_STAGE])
def test_one_class(config, load_config, make_batch):
    one = ["MODEL.ROI_HEADS.NUM_CLASSES", 1, "MODEL.CENTERNET.NUM_CLASSES", 1]
    model = build_model(load_config(config, *one, *LOW))
    batch = make_batch([3, 0])
    assert all(map(math.isfinite, step(model, batch).values()))
    for found in detect(model, batch):
        assert len(found) > 0
        assert (found.pred_classes == 0).all()


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize(
    "config",
    [
        "LVIS_CenterNet2_R50_Fed_1x.yaml",
        "report/LVIS_CenterNet2_R50_EQL_1x.yaml",
        "report/LVIS_CenterNet-FPN_R50_1x.yaml",
    ],
)
def test_1203_classes(config, dtype, load_config, make_batch, tmp_path):
    counts = [{"id": i + 1, "image_count": 1 + i % 300} for i in range(1203)]
    (tmp_path / "counts.json").write_text(json.dumps(counts))
    frequency = ["MODEL.ROI_BOX_HEAD.CAT_FREQ_PATH", str(tmp_path / "counts.json")]
    model = build_model(load_config(config, *LOW, *frequency))
    batch = make_batch([4, 2], num_classes=1203)
    batch[0]["instances"].gt_classes[0] = 1202
    assert all(map(math.isfinite, step(model, batch, dtype).values()))
    for found in detect(model, batch):
        assert 100 <= len(found) <= 300
        assert len(found.pred_classes.unique()) > 20
        assert found.pred_classes.max() < 1203


def check_size(model: nn.Module, height: int, width: int, training: bool) -> None:
    boxes = [[0, 0, width, height], [width / 4, height / 4, width / 2, height / 2]]
    batch = [image_with(boxes, height, width)]
    if training:
        assert all(map(math.isfinite, step(model, batch).values()))
    (found,) = detect(model, batch)
    assert len(found) > 0
    corners = found.pred_boxes.tensor
    assert corners.isfinite().all()
    assert (corners >= 0).all()
    assert (corners <= torch.tensor([width, height, width, height])).all()


@pytest.mark.parametrize("size", [(32, 32), (1, 1), (33, 47), (32, 4000), (4000, 32)])
@pytest.mark.parametrize("config", [TWO_STAGES, ONE_STAGE])
def test_small_and_narrow_images(config, size, load_config):
    check_size(build_model(load_config(config, *THIN, *LOW)), *size, training=True)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "training"), [((4000, 1000), True), ((4000, 4000), False)])
def test_images_of_4000_pixels(size, training, load_config):
    check_size(build_model(load_config(TWO_STAGES, *THIN, *LOW)), *size, training=training)
