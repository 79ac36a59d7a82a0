"""Published models on Res2Net, ResNeXt and with Objects365: names, settings, a training step."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from centernet2.engine import Checkpointer

LISTS = Path(__file__).resolve().parents[1] / "data" / "published_state_dicts"
R2_896 = "CenterNet2_R2-101-DCN_896_4x.yaml"
R2_1280 = "CenterNet2_R2-101-DCN-BiFPN_1280_4x.yaml"
R2_1560 = "CenterNet2_R2-101-DCN-BiFPN_4x+4x_1560_ST.yaml"
X101 = "CenterNet2_X101-DCN_2x.yaml"
O365 = "O365_CenterNet2_R50_1x.yaml"
CONFIG_LISTS = {
    R2_896: "CenterNet2_R2-101-DCN_896_4x.json",
    R2_1280: "CenterNet2_R2-101-DCN-BiFPN_1280_4x.json",
    R2_1560: "CenterNet2_R2-101-DCN-BiFPN_1280_4x.json",
    X101: "CenterNet2_X101-DCN_2x.json",
    O365: "O365_CenterNet2_R50_1x.json",
}
# All stages and the whole pyramid, a few channels wide
NARROW = [
    "MODEL.RESNETS.DEPTH", 50,
    "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 4,
    "MODEL.BIFPN.OUT_CHANNELS", 96,  # no map of the backbone has as many: all are projected
    "MODEL.BIFPN.NUM_BIFPN", 2,
]  # fmt: skip


def narrow(load_config, config, *overrides):
    groups = ["MODEL.RESNETS.NUM_GROUPS", 2] if config == X101 else []
    return build_model(load_config(config, *NARROW, *groups, *overrides))


@pytest.mark.parametrize("config", CONFIG_LISTS)
def test_names_and_shapes_are_the_published_ones(config, load_config):
    published = json.loads((LISTS / CONFIG_LISTS[config]).read_text())
    with torch.device("meta"):
        model = build_model(load_config(config, "MODEL.DEVICE", "meta", shrink=False))
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == published


@pytest.mark.parametrize(
    ("config", "entries", "values"),
    [(R2_896, 954, 49_125_068), (R2_1280, 1180, 89_602_769), (X101, 588, None)],
)
def test_backbones_have_the_published_number_of_parameters(config, entries, values, load_config):
    with torch.device("meta"):
        backbone = build_model(load_config(config, "MODEL.DEVICE", "meta", shrink=False)).backbone
    assert len(backbone.state_dict()) == entries
    if values is not None:
        assert sum(p.numel() for p in backbone.parameters()) == values


@pytest.mark.parametrize("config", CONFIG_LISTS)
def test_a_checkpoint_with_the_published_names_loads_completely(config, load_config, tmp_path):
    """All layers of the published depth, a few channels wide; from a file to the same values."""
    published = json.loads((LISTS / CONFIG_LISTS[config]).read_text())
    depth = 50 if config == O365 else 101
    model = narrow(
        load_config, config, "MODEL.RESNETS.DEPTH", depth, "MODEL.RESNETS.NORM", "FrozenBN",
        "MODEL.BIFPN.NUM_BIFPN", 7,
    )  # fmt: skip
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.rand(shapes[name], generator=generator) for name in published}
    torch.save({"model": state}, tmp_path / "published.pth")

    checkpointer = Checkpointer(model)
    checkpointer.load(str(tmp_path / "published.pth"), checkpointables=[])

    assert checkpointer.match.complete
    assert not checkpointer.match.unexpected
    assert shapes.keys() == state.keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("config", CONFIG_LISTS)
def test_a_step_gives_finite_losses_and_a_gradient_everywhere(config, load_config, make_batch):
    model = narrow(load_config, config).train()
    with EventStorage(0):
        losses = model(make_batch([3, 0]))
    assert all(math.isfinite(value.item()) for value in losses.values()), losses
    sum(losses.values()).backward()
    trained = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert not [name for name, grad in trained.items() if grad is None]
    assert not [name for name, grad in trained.items() if not grad.isfinite().all()]


@pytest.mark.parametrize("config", CONFIG_LISTS)
def test_inference_on_images_of_any_size(config, load_config, make_batch):
    model = narrow(load_config, config).eval()
    with torch.no_grad():
        results = model(make_batch([1, 1], height=75, width=130))
    for result in results:
        boxes = result["instances"].pred_boxes.tensor
        assert (boxes >= 0).all() and (boxes[:, 2] <= 130).all() and (boxes[:, 3] <= 75).all()


@pytest.mark.parametrize("config", [R2_896, R2_1280, R2_1560])
def test_res2net_computes_with_the_stride_that_its_weights_were_trained_with(config, load_config):
    cfg = load_config(config, shrink=False)
    assert cfg.MODEL.RESNETS.STRIDE_IN_1X1
    assert cfg.MODEL.BACKBONE.FREEZE_AT == 2
    assert cfg.MODEL.RESNETS.NORM == "FrozenBN"


@pytest.mark.parametrize("config", [R2_896, R2_1280, R2_1560, X101])
def test_the_large_models_pool_from_p3_and_p4_and_end_the_box_tower_deformable(config, load_config):
    cfg = load_config(config, "MODEL.DEVICE", "meta", shrink=False)
    with torch.device("meta"):
        model = build_model(cfg)
    assert model.roi_heads.box_in_features == ["p3", "p4"]
    assert (model.roi_heads.box_pooler.min_level, model.roi_heads.box_pooler.max_level) == (3, 4)
    kinds = [type(m).__name__ for m in model.proposal_generator.centernet_head.bbox_tower]
    assert kinds == ["Conv2d", "GroupNorm", "ReLU"] * 3 + [
        "ModulatedDeformConv",
        "GroupNorm",
        "ReLU",
    ]


@pytest.mark.parametrize(
    ("config", "order", "mean", "std"),
    [
        (R2_896, "BGR", [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
        (R2_1280, "BGR", [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
        (R2_1560, "RGB", [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
        (X101, "BGR", [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]),
        (O365, "BGR", [103.53, 116.28, 123.675], [1.0, 1.0, 1.0]),
    ],
)
def test_pixels_are_fed_as_the_published_files_say_once_loaded(
    config, order, mean, std, load_config
):
    cfg = load_config(config, shrink=False)
    assert (order, mean, std) == (cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)


def test_recipes(load_config):
    """Four times 12 epochs at 1280 (896), the test image scaled to 1560; Objects365's sampler."""
    for config, side in ((R2_896, 896), (R2_1280, 1280), (R2_1560, 1280)):
        cfg = load_config(config, shrink=False)
        assert cfg.INPUT.CUSTOM_AUG == "EfficientDetResizeCrop"
        assert side == cfg.INPUT.TRAIN_SIZE
        assert cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupCosineLR"
        assert cfg.SOLVER.IMS_PER_BATCH * cfg.SOLVER.MAX_ITER == 4 * 16 * 90_000
        assert (config == R2_1560) == (cfg.INPUT.TEST_INPUT_TYPE == "square")
    assert cfg.INPUT.TEST_SIZE == 1560
    assert cfg.DATASETS.TRAIN == ("coco_2017_train", "coco_un_yolov4_55_0.5")
    cfg = load_config(O365, shrink=False)
    assert cfg.DATALOADER.SAMPLER_TRAIN == "ClassAwareSampler"
    assert cfg.TEST.DETECTIONS_PER_IMAGE == 300
