"""MobileNetV3 and its neck: maps, freezing, scales that change nothing; the published start."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_backbone

from centernet2.config import add_centernet_config
from centernet2.engine.coco_mobile_weights import convert_coco_mobile, published_names
from centernet2.errors import UserError
from centernet2.modeling.backbones.mobilenetv3 import HardSigmoid, HardSwish, MobileNetV3
from centernet2.modeling.inference_form import to_inference_form

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
CHANNELS = {"c2": 72, "c3": 96, "c4": 88, "c5": 480, "n2": 128, "n3": 192, "n4": 256}


def small_config(*options: object) -> CfgNode:
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.merge_from_file(str(CONFIGS / "small" / "CenterNet2_MobileNetV3_pennfudan.yaml"))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *options])
    return cfg


def test_maps_have_the_sizes_that_they_promise() -> None:
    model = MobileNetV3(tuple(CHANNELS)).eval()
    with torch.inference_mode():
        maps = model(torch.rand(2, 3, 64, 96) * 255)
    assert {name: x.shape[1] for name, x in maps.items()} == CHANNELS
    for name, shape in model.output_shape().items():
        assert shape.channels == CHANNELS[name]
        assert maps[name].shape[2:] == (64 // shape.stride, 96 // shape.stride)
        assert shape.stride == 2 ** int(name[1])


def test_activations_round_the_sixth_to_half_precision() -> None:
    x = torch.linspace(-5, 5, 101)
    sixth = float(torch.tensor(1 / 6).half())
    gate = (x + 3).clamp(0, 6) * sixth
    torch.testing.assert_close(HardSigmoid()(x), gate)
    torch.testing.assert_close(HardSwish()(x), x * gate)


@pytest.mark.parametrize("names", [("c3", "c4", "c5"), ("n3", "n4", "c5")])
def test_every_weight_is_used(names: tuple[str, ...]) -> None:
    model = MobileNetV3(names)
    sum(x.mean() for x in model(torch.rand(1, 3, 64, 64) * 255).values()).backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None]
    assert not unused


def test_frozen_stages_do_not_train() -> None:
    model = MobileNetV3(freeze_at=2)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert {name.rpartition(".")[0].removesuffix(".weight") for name in frozen} == {
        "stem",
        *(f"blocks.{i}.{part}" for i in range(3) for part in ("depthwise", "project")),
        *(f"blocks.{i}.expand" for i in (1, 2)),
    }


def test_factors_go_into_the_kernels_for_inference() -> None:
    model = MobileNetV3(("n2", "c5")).eval()
    for name, buffer in model.named_buffers():
        if name.endswith(("norm.weight", "norm.bias")):
            buffer.uniform_(0.5, 1.5)
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before = model(x)
        after = to_inference_form(model)(x)
    assert not any(name.endswith("norm.weight") for name in model.state_dict())
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("names", [("c1",), ()])
def test_unknown_maps_are_named(names: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"MODEL\.MOBILENETV3\.OUT_FEATURES is .*c2, c3"):
        MobileNetV3(names)
    with pytest.raises(UserError, match=r"MODEL\.BACKBONE\.FREEZE_AT is 6"):
        MobileNetV3(freeze_at=6)


def test_published_names_are_those_of_the_pyramids_backbone() -> None:
    """So one file is the start of both pyramids, on the neck's maps and on the backbone's."""
    published = {name for name in published_names() if name.startswith("backbone.bottom_up.")}
    neck_maps = [["n3", "n4", "c5"]] * 2
    keys = ("MODEL.MOBILENETV3.OUT_FEATURES", "MODEL.FPN.IN_FEATURES")
    on_neck = build_backbone(small_config(*(x for pair in zip(keys, neck_maps) for x in pair)))
    names = {f"backbone.{name}" for name in on_neck.state_dict() if name.startswith("bottom_up.")}
    fixed = {name for name in names if ".norm.running_" in name}
    level2 = {name for name in published if ".lateral.2." in name or ".up.2." in name}
    assert names - fixed == published - level2
    without = build_backbone(small_config())
    names = {f"backbone.{name}" for name in without.state_dict() if name.startswith("bottom_up.")}
    neck = {name for name in published if ".neck." in name}
    assert {name for name in names if ".norm.running_" not in name} == published - neck


def test_another_graph_is_refused() -> None:
    with pytest.raises(UserError, match=r"no weight 'tower_0/MobilenetV3/Conv/Conv2D_weights'"):
        convert_coco_mobile({})
