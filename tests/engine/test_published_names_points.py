"""Files with the published names of Objects as Points: they load whole, and compute the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn
from torchvision.models import resnet18

from centernet2.engine import Checkpointer, build_cfg
from centernet2.engine.published import read_published, write_model
from centernet2.engine.published_names import adopt_names
from centernet2.errors import UserError

from ..modeling.backbones import reference_deconv, reference_dla
from ..modeling.backbones.reference_hourglass import Reference

TESTS = Path(__file__).resolve().parents[1]
LISTS = TESTS / "data" / "published_state_dicts" / "points"
CONFIGS = TESTS.parent / "configs" / "points"
CLASSIFIER = ("base.fc.bias", "base.fc.weight")
# Config, and millions of parameters, of each published list; DLA's have the unused classifier
PUBLISHED = {
    "ctdet_dla34": ("DLA-34_2x.yaml", 20.19),
    "pose_dla34": ("pose/DLA-34_3x.yaml", None),
    "ctdet_resdcn18": ("ResNet-18_1x.yaml", 14.44),
    "ctdet_hourglass": ("Hourglass-104.yaml", 191.28),
}
# Every layer of Hourglass-104, a few channels wide
NARROW = ["MODEL.HOURGLASS.DIMS", "[4, 4, 6, 6, 6, 8]", "MODEL.HOURGLASS.STEM_CHANNELS", "2",
          "MODEL.POINTS.HEAD_CHANNELS", "5"]  # fmt: skip
State = dict[str, torch.Tensor]


def config(name: str, *overrides: str) -> CfgNode:
    narrow = NARROW if "hourglass" in name else []
    return build_cfg(
        str(CONFIGS / PUBLISHED[name][0]), ["MODEL.DEVICE", "cpu", *narrow, *overrides]
    )


def listed(name: str) -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = json.loads((LISTS / f"{name}.json").read_text())
    return shapes


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_shapes_and_sizes_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        model = build_model(build_cfg(str(CONFIGS / PUBLISHED[name][0]), ["MODEL.DEVICE", "meta"]))
        weights = {k: torch.empty(shape) for k, shape in listed(name).items()}
    state = model.state_dict()
    parameters = sum(p.numel() for p in model.parameters())

    adopt_names(weights, state)
    classifier = [weights.pop(k).numel() for k in CLASSIFIER if k in weights]
    assert {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in state.items()}
    assert len(classifier) == (2 if "dla34" in name else 0)
    millions = PUBLISHED[name][1]
    if millions is not None:
        assert (parameters + sum(classifier)) / 1e6 == pytest.approx(millions, abs=0.005)


def published_weights(name: str) -> State:
    """Values under which every layer matters, under the published names."""
    shapes = listed(name)
    if "hourglass" in name:
        state = build_model(config(name)).state_dict()
        shapes = {k.split(".", 1)[1]: list(v.shape) for k, v in state.items()}
        assert shapes.keys() == listed(name).keys()
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for key, shape in shapes.items():
        value = torch.randn(shape, generator=generator)
        if key.endswith("num_batches_tracked"):
            value = torch.tensor(7)
        elif key.endswith("running_var"):
            value = 0.5 + value.abs()
        elif value.dim() == 4:
            value *= (1.0 if "deconv" in key else 1.4) / math.sqrt(math.prod(shape[1:]))
        else:
            value = 0.2 * value + (1 if key.endswith("weight") else 0)
        weights[key] = value
    return weights


def save(weights: State, file: Path, wrapped: bool, old: bool) -> None:
    """As the published training saves it."""
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(2))], lr=1e-4)
    state = {f"module.{k}" if wrapped else k: v for k, v in weights.items()}
    if old:  # PyTorch 0.4
        state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    content = {"epoch": 230, "state_dict": state, "optimizer": optimizer.state_dict()}
    torch.save(content, file, _use_new_zipfile_serialization=not old)


class Published(reference_dla.Weights):
    """Published weights, in which the references find the deformable convolutions' parts."""

    def __init__(self, state: Mapping[str, torch.Tensor], prefix: str = "") -> None:
        renamed = {}
        for key, value in state.items():
            inner = "conv_offset_mask" in key
            layer, _, kind = key.partition(".conv_offset_mask.") if inner else key.rpartition(".")
            layer = layer[: -len(".conv")] if layer.endswith(".conv") else layer
            deformable = f"{layer}.conv_offset_mask.bias" in state
            if inner:
                renamed[f"{layer}.offset.{kind}"] = value
            elif deformable:
                renamed[f"{layer}.conv.{kind}"] = value
            else:
                renamed[key] = value
        super().__init__(renamed, prefix)


def feature(name: str, weights: State, image: torch.Tensor) -> torch.Tensor:
    """What the heads see, by slow references, in float64."""
    w = Published(weights)
    if "hourglass" in name:
        doubles = {k: v.double() for k, v in weights.items()}
        return Reference(doubles, levels=5, stacks=2)(image.double())[-1]
    if "dla34" in name:
        return reference_dla.stride_4(image, w.state)
    trunk = resnet18(weights=None).double().eval()
    trunk.load_state_dict(weights, strict=False)
    trunk.avgpool, trunk.fc = nn.Identity(), nn.Identity()
    flat = trunk(image.double())
    x = flat.reshape(len(image), 512, image.shape[2] // 32, image.shape[3] // 32)
    return reference_deconv.deconv_layers(x, w.below("deconv_layers"))


def head(name: str, weights: State, kind: str, x: torch.Tensor) -> torch.Tensor:
    first, second = ("1.0.conv", "1.1") if "hourglass" in name else ("0", "2")
    a, b = (
        {k: weights[f"{kind}.{layer}.{k}"].double() for k in ("weight", "bias")}
        for layer in (first, second)
    )
    return F.conv2d(F.conv2d(x, **a, padding=1).clamp(min=0), **b)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_loads_whole_and_computes_the_same(name: str, tmp_path: Path) -> None:
    weights = published_weights(name)
    old = name in ("ctdet_dla34", "ctdet_hourglass")
    save(weights, tmp_path / f"{name}.pth", wrapped=name != "ctdet_resdcn18", old=old)
    model = build_model(config(name)).eval()
    checkpointer = Checkpointer(model)
    checkpointer.load(str(tmp_path / f"{name}.pth"), checkpointables=[])

    match = checkpointer.match
    assert match is not None and match.complete and not match.unexpected and not match.aside.layers
    assert len(match.matched) == match.model_size
    assert sorted(match.aside.left_over) == ([*CLASSIFIER] if "dla34" in name else [])

    model.double()
    with torch.no_grad():
        if "pose" in name:  # the backbone is the detector's
            expected = torch.randn(1, 64, 9, 7, dtype=torch.float64)
        else:
            side = 128 if "hourglass" in name else 32
            image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
            *_, found = model.backbone(image.double()).values()
            expected = feature(name, weights, image)
            assert expected.std() > 0.05
            torch.testing.assert_close(found, expected)
        maps = model.head(expected, 1 if "hourglass" in name else 0)
        kinds = {"hm": maps[0], "wh": maps[1], "reg": maps[2]}
        if "pose" in name:
            kinds |= {"hps": maps[3], "hm_hp": maps[4], "hp_offset": maps[5]}
        for kind, value in kinds.items():
            torch.testing.assert_close(value, head(name, weights, kind, expected))


def test_it_is_converted(tmp_path: Path) -> None:
    weights = published_weights("ctdet_resdcn18")
    save(weights, tmp_path / "published.pth", wrapped=True, old=True)
    cfg = config("ctdet_resdcn18")
    published = read_published(cfg, str(tmp_path / "published.pth"))
    assert published.match.complete and not published.warnings
    output = tmp_path / "converted.safetensors"
    write_model(published, cfg, "ResNet-18_1x.yaml", output)
    model = build_model(cfg)
    Checkpointer(model).load(str(output), checkpointables=[])
    state = model.state_dict()
    layer = "deconv_layers.6"
    for ours, theirs in {
        f"backbone.{layer}.conv.bias": f"{layer}.bias",
        f"backbone.{layer}.conv.weight": f"{layer}.weight",
        f"backbone.{layer}.offset.weight": f"{layer}.conv_offset_mask.weight",
        "head.hm.2.bias": "hm.2.bias",
    }.items():
        assert torch.equal(state[ours], weights[theirs])


def test_pose_starts_from_a_detector(tmp_path: Path) -> None:
    """Another number of classes, and heads that the file does not have."""
    save(published_weights("ctdet_dla34"), tmp_path / "detector.pth", wrapped=False, old=False)
    checkpointer = Checkpointer(build_model(config("pose_dla34")))
    checkpointer.load(str(tmp_path / "detector.pth"), checkpointables=[])
    match = checkpointer.match
    assert match is not None
    assert match.aside.classes == "the file is for 80 classes, the model for 1"
    assert match.aside.layers == ["head.hm.2"]
    assert {n.split(".")[1] for n in match.missing} == {"hps", "hm_hp", "hp_offset"}
    assert not match.reshaped and not match.unexpected


def test_imagenet_weights_of_torchvision_reach_the_trunk(tmp_path: Path) -> None:
    trunk = resnet18(weights=None).state_dict()
    torch.save(trunk, tmp_path / "resnet18.pth")
    cfg = config("ctdet_resdcn18")
    assert cfg.MODEL.WEIGHTS == "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    checkpointer = Checkpointer(model := build_model(cfg))
    checkpointer.load(str(tmp_path / "resnet18.pth"), checkpointables=[])
    match = checkpointer.match
    assert match is not None and match.unexpected == ["fc.weight", "fc.bias"]
    assert {n.split(".")[0] for n in match.missing} | {n.split(".")[1] for n in match.missing} == {
        "backbone", "head", "deconv_layers", "hm", "wh", "reg",
    }  # fmt: skip
    state = model.state_dict()
    for key, value in trunk.items():
        if not key.startswith("fc."):
            assert torch.equal(state[f"backbone.{key}"], value), key


def test_a_file_of_another_backbone_is_refused(tmp_path: Path) -> None:
    weights: dict[str, Any] = published_weights("ctdet_resdcn18")
    weights = {k: v for k, v in weights.items() if k.split(".")[0] not in ("hm", "wh", "reg")}
    save(weights, tmp_path / "resnet.pth", wrapped=True, old=False)
    with pytest.raises(UserError, match="of another architecture"):
        Checkpointer(build_model(config("ctdet_hourglass"))).load(str(tmp_path / "resnet.pth"))
