"""Published models on DLA: names and shapes of all parameters, and checkpoints that load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model

from centernet2.engine.checkpoint import Checkpointer

LISTS = Path(__file__).resolve().parents[1] / "data" / "published_state_dicts"
# Config: its list, entries of `backbone`, values of `backbone`
CONFIGS = {
    "Base_S4_DLA": ("Base_S4_DLA", 386, 19_211_168),
    "CenterNet-S4_DLA_8x": ("Base_S4_DLA", 386, 19_211_168),
    "nuImages_CenterNet2_DLA_640_8x": ("nuImages_CenterNet2_DLA_640_8x", 386, 19_211_168),
    "CenterNet2_DLA-BiFPN-P3_4x": ("CenterNet2_DLA-BiFPN-P3_24x", 314, 19_189_588),
    "CenterNet2_DLA-BiFPN-P3_24x": ("CenterNet2_DLA-BiFPN-P3_24x", 314, 19_189_588),
    "CenterNet2_DLA-BiFPN-P5_640_16x": ("CenterNet2_DLA-BiFPN-P5_640_16x", 348, 21_158_249),
    "CenterNet2_DLA-BiFPN-P5_640_16x_ST": ("CenterNet2_DLA-BiFPN-P5_640_16x", 348, 21_158_249),
    "CenterNet2_DLA-fcosBiFPN-P5_640_16x_ST": (
        "CenterNet2_DLA-fcosBiFPN-P5_640_16x_ST", 345, 21_035_209,
    ),
}  # fmt: skip


def published(name):
    return json.loads((LISTS / f"{name}.json").read_text())


@pytest.mark.parametrize("config", CONFIGS)
def test_names_shapes_and_sizes_are_the_published_ones(config, load_config):
    names, entries, values = CONFIGS[config]
    cfg = load_config(f"{config}.yaml", "MODEL.DEVICE", "meta", shrink=False)
    with torch.device("meta"):
        model = build_model(cfg)
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == published(names)
    assert len(model.backbone.state_dict()) == entries
    assert sum(p.numel() for p in model.backbone.parameters()) == values


# What changes results at test time, as published
INPUTS = {
    "CenterNet-S4_DLA_8x": ("BGR", 103.53, [57.375, 57.12, 58.395], 608, 900, 32),
    "nuImages_CenterNet2_DLA_640_8x": ("RGB", 123.675, [58.395, 57.12, 57.375], 608, 900, 32),
    "CenterNet2_DLA-BiFPN-P3_4x": ("BGR", 103.53, [1, 1, 1], 512, 736, 128),
    "CenterNet2_DLA-BiFPN-P3_24x": ("BGR", 103.53, [1, 1, 1], 512, 736, 128),
    "CenterNet2_DLA-BiFPN-P5_640_16x": ("RGB", 123.675, [58.395, 57.12, 57.375], 608, 900, 128),
    "CenterNet2_DLA-BiFPN-P5_640_16x_ST": ("RGB", 123.675, [58.395, 57.12, 57.375], 608, 900, 128),
    "CenterNet2_DLA-fcosBiFPN-P5_640_16x_ST": (
        "RGB", 123.675, [58.395, 57.12, 57.375], 608, 900, 128,
    ),
}  # fmt: skip


@pytest.mark.parametrize("config", INPUTS)
def test_images_are_prepared_as_published(config, load_config):
    cfg = load_config(f"{config}.yaml", "MODEL.DEVICE", "meta", shrink=False)
    with torch.device("meta"):
        model = build_model(cfg)
    order, first_mean, deviation, short, long, multiple = INPUTS[config]
    assert order == cfg.INPUT.FORMAT
    assert cfg.MODEL.PIXEL_MEAN[0] == first_mean
    assert deviation == cfg.MODEL.PIXEL_STD
    assert (short, long) == (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    assert cfg.INPUT.TEST_INPUT_TYPE == "default"
    assert model.backbone.size_divisibility == multiple


def test_a_published_stride_4_checkpoint_loads_with_its_unused_classifier(load_config):
    names = published("Base_S4_DLA")
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.rand(shape, generator=generator) for name, shape in names.items()}
    classifier = {
        "backbone.base.fc.weight": torch.rand(1000, 512, 1, 1),
        "backbone.base.fc.bias": torch.rand(1000),
    }
    model = build_model(load_config("CenterNet-S4_DLA_8x.yaml", shrink=False))

    report = DetectionCheckpointer(model)._load_model(
        {"model": {**state, **classifier}, "matching_heuristics": False}
    )

    assert not report.missing_keys and not report.unexpected_keys and not report.incorrect_shapes
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name].to(value.dtype)), name


@pytest.mark.parametrize(
    ("config", "prefix"),
    [
        ("CenterNet-S4_DLA_8x", "backbone.base."),
        ("CenterNet2_DLA-BiFPN-P5_640_16x", "backbone.bottom_up."),
        ("CenterNet2_DLA-BiFPN-P3_4x", "backbone.bottom_up.backbone."),
    ],
)
def test_imagenet_weights_of_the_configs_reach_the_trunk(config, prefix, load_config, tmp_path):
    """A file with the bare names of DLA's authors, loaded by the query that the configs write."""
    cfg = load_config(f"{config}.yaml", shrink=False)
    assert cfg.MODEL.WEIGHTS.endswith("dla34-ba72cf86.pth?matching_heuristics=True")
    model = build_model(cfg)
    trunk = {
        name[len(prefix) :]: torch.rand(value.shape)
        for name, value in model.state_dict().items()
        if name.startswith(prefix) and "num_batches_tracked" not in name
    }
    file = {**trunk, "fc.weight": torch.rand(1000, 512, 1, 1), "fc.bias": torch.rand(1000)}
    torch.save(file, tmp_path / "dla34.pth")

    Checkpointer(model).load(f"{tmp_path / 'dla34.pth'}?matching_heuristics=True")

    loaded = model.state_dict()
    for name, value in trunk.items():
        assert torch.equal(loaded[prefix + name], value), name
