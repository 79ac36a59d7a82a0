"""The pyramid of stride 4: values against the description, sizes, mistakes."""

from __future__ import annotations

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from detectron2.modeling.backbone import Backbone

from centernet2.config import add_centernet_config
from centernet2.errors import UserError
from centernet2.modeling.backbones import Stride4FPN
from centernet2.modeling.inference_form import to_inference_form

MOBILENET = ["MODEL.BACKBONE.NAME", "build_mobilenetv2_stride4_fpn_backbone",
             "MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4a", "last"]]  # fmt: skip
STAGES = ["res2", "res3", "res4", "res5"]


def build(*overrides):
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.merge_from_list([*overrides, "MODEL.BACKBONE.FREEZE_AT", 0])
    return build_backbone(cfg)


def resnet(depth, *overrides):
    return build(
        "MODEL.BACKBONE.NAME", "build_resnet_stride4_fpn_backbone",
        "MODEL.RESNETS.DEPTH", depth,
        "MODEL.RESNETS.OUT_FEATURES", STAGES,
        "MODEL.FPN.IN_FEATURES", STAGES,
        "MODEL.RESNETS.RES2_OUT_CHANNELS", 64 if depth < 50 else 256,
        "MODEL.RESNETS.NORM", "BN",
        "MODEL.STRIDE4_FPN.CHANNELS", [256, 128, 64],
        *overrides,
    )  # fmt: skip


def reference(maps, state, separable):
    """Every sum of the pyramid written out in float64; ``maps`` from fine to coarse."""

    def conv1x1(x, name):
        weight, bias = state[f"{name}.weight"].double(), state[f"{name}.bias"].double()
        return torch.einsum("oc,bchw->bohw", weight[:, :, 0, 0], x) + bias.view(-1, 1, 1)

    def windows(x):
        height, width = x.shape[2:]
        padded = torch.zeros(*x.shape[:2], height + 2, width + 2, dtype=x.dtype)
        padded[..., 1:-1, 1:-1] = x
        return [[padded[..., i : i + height, j : j + width] for j in range(3)] for i in range(3)]

    def conv3x3(x, name):
        taps = windows(x)
        if separable:
            weight = state[f"{name}.0.weight"].double()
            x = sum(
                taps[i][j] * weight[:, 0, i, j].view(-1, 1, 1) for i in range(3) for j in range(3)
            )
            return conv1x1(x, f"{name}.1")
        weight, bias = state[f"{name}.0.weight"].double(), state[f"{name}.0.bias"].double()
        total = bias.view(-1, 1, 1)
        for i in range(3):
            for j in range(3):
                total = total + torch.einsum("oc,bchw->bohw", weight[:, :, i, j], taps[i][j])
        return total

    def norm(x, name):
        mean, var, weight, bias = (
            state[f"{name}.{key}"].double().view(-1, 1, 1)
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 0.001) ** 0.5 * weight + bias

    x = conv1x1(maps[3].double(), "top")
    for i in range(3):
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x = x + conv1x1(maps[2 - i].double(), f"laterals.{i}")
        normed = f"outputs.{i}.{2 if separable else 1}"
        x = norm(conv3x3(x, f"outputs.{i}"), normed).clamp(min=0)
    return x


@pytest.mark.parametrize("separable", [False, True])
def test_values_are_those_of_the_description(separable, randomise):
    model = build(*MOBILENET, "MODEL.STRIDE4_FPN.SEPARABLE_CONV", separable)
    model = randomise(model.double()).eval()
    with torch.no_grad():
        for block in model.bottom_up.features:  # 53 random layers would leave nothing to compare
            for name, buffer in block.named_buffers():
                if name.endswith("running_var"):
                    buffer.fill_(0.05)
    image = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        found = model(image)
        maps = list(model.bottom_up(image).values())
    assert [m.shape[1:] for m in maps] == [(24, 16, 24), (32, 8, 12), (64, 4, 6), (1280, 2, 3)]
    assert maps[3].max() <= 6 and maps[3].std() > 0.01
    expected = reference(maps, model.state_dict(), separable)
    assert list(found) == ["p2"]
    assert expected.std() > 0.1
    torch.testing.assert_close(found["p2"], expected)


def test_numbers_of_parameters_are_those_of_the_layers():
    def neck(model):
        return sum(p.numel() for n, p in model.named_parameters() if not n.startswith("bottom_up."))

    top_and_laterals = 1281 * 64 + 65 * 64 + 33 * 32 + 25 * 24
    norms = 2 * (32 + 24 + 24)
    plain = (64 * 9 + 0) * 32 + 32 + 32 * 9 * 24 + 24 + 24 * 9 * 24 + 24
    split = 64 * 9 + 65 * 32 + 32 * 9 + 33 * 24 + 24 * 9 + 25 * 24
    model = build(*MOBILENET)
    assert neck(model) == top_and_laterals + plain + norms
    trunk = sum(p.numel() for p in model.bottom_up.parameters())
    assert trunk == 2_223_872, "MobileNetV2 without its classifier"
    separable = build(*MOBILENET, "MODEL.STRIDE4_FPN.SEPARABLE_CONV", True)
    assert neck(separable) == top_and_laterals + split + norms


@pytest.mark.parametrize("depth", [18, 50])
def test_resnets_give_one_map_of_64_channels(depth):
    with torch.device("meta"):
        model = resnet(depth)
        found = model(torch.rand(1, 3, 64, 96))
    assert {n: tuple(t.shape) for n, t in found.items()} == {"p2": (1, 64, 16, 24)}
    assert model.output_shape() == {"p2": ShapeSpec(channels=64, stride=4)}
    assert model.size_divisibility == 32
    assert [m.out_channels for m in [model.top, *model.laterals]] == [256, 256, 128, 64]
    assert [m[0].out_channels for m in model.outputs] == [128, 64, 64]


@pytest.mark.parametrize("separable", [False, True])
def test_a_gradient_reaches_every_parameter_with_a_batch_of_one(separable):
    model = build(*MOBILENET, "MODEL.STRIDE4_FPN.SEPARABLE_CONV", separable).train()
    (model(torch.rand(1, 3, 64, 64))["p2"] ** 2).mean().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("separable", [False, True])
def test_the_inference_form_gives_the_same_without_normalisations(separable, randomise):
    model = build(*MOBILENET, "MODEL.STRIDE4_FPN.SEPARABLE_CONV", separable)
    model = randomise(model.double()).eval()
    image = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = model(image)["p2"]
        found = to_inference_form(model)(image)["p2"]
    torch.testing.assert_close(found, expected)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())


class Maps(Backbone):
    """Gives nothing but shapes."""

    def __init__(self, strides):
        super().__init__()
        self.shapes = {f"res{i}": ShapeSpec(channels=8, stride=s) for i, s in enumerate(strides, 2)}

    def forward(self, x):
        raise NotImplementedError

    def output_shape(self):
        return self.shapes


@pytest.mark.parametrize(
    ("strides", "names", "options", "message"),
    [
        ((8, 16, 32, 64), STAGES, {}, r"IN_FEATURES .*strides \[4, 8, 16, 32\].*'res2': 8"),
        ((4, 8, 16, 32), STAGES[:3], {}, r"IN_FEATURES .*not \['res2', 'res3', 'res4'\]"),
        ((4, 8, 16, 32), STAGES[::-1], {}, "in this order"),
        ((4, 8, 16, 32), [*STAGES, "res9"], {}, "res9"),
        ((4, 8, 16, 32), STAGES, {"channels": (8, 8)}, r"CHANNELS .*three numbers.*\[8, 8\]"),
        ((4, 8, 16, 32), STAGES, {"norm": "GN"}, r"STRIDE4_FPN.NORM .*'FrozenBN'\], not 'GN'"),
    ],
)
def test_mistakes_are_named(strides, names, options, message):
    with pytest.raises(UserError, match=message):
        Stride4FPN(Maps(strides), names, **options)


@pytest.mark.parametrize("norm", ["SyncBN", "FrozenBN"])
def test_other_normalisations_keep_the_epsilon(norm):
    model = build(*MOBILENET, "MODEL.STRIDE4_FPN.NORM", norm)
    assert {output[-2].eps for output in model.outputs} == {1e-3}
