"""DLA with aggregation from coarse to fine: values, names of the maps, quirks, mistakes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_backbone

from centernet2.errors import UserError
from centernet2.modeling.backbones import DLA, DLAUp, UpsampledDLA
from centernet2.modeling.backbones.dla_up import bilinear_kernel

from . import reference_dla


def test_stride_4_equals_the_reference(randomise):
    model = randomise(UpsampledDLA()).eval()
    image = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        outputs = model(image)
        expected = reference_dla.stride_4(image, model.state_dict())
    assert list(outputs) == ["dla2"]
    assert outputs["dla2"].shape == (1, 64, 8, 16)
    torch.testing.assert_close(outputs["dla2"].double(), expected, rtol=1e-3, atol=1e-3)
    assert expected.std() > 0.1
    shape = model.output_shape()["dla2"]
    assert (shape.channels, shape.stride, model.size_divisibility) == (64, 4, 32)


def test_several_strides_come_out_of_the_first_aggregation(randomise):
    names = ["dla2", "dla3", "dla4", "dla5"]
    model = randomise(UpsampledDLA(ms_output=True, out_features=names)).eval()
    image = torch.rand(1, 3, 32, 32)
    state = model.state_dict()
    with torch.no_grad():
        outputs = model(image)
        maps = reference_dla.dla(image, state, "base.")
        expected = reference_dla.dla_up(maps[2:], reference_dla.Weights(state, "dla_up."))
    assert list(outputs) == names
    for name, tensor in zip(names, expected):
        torch.testing.assert_close(outputs[name].double(), tensor, rtol=1e-3, atol=1e-3)
        assert model.output_shape()[name].channels == tensor.shape[1]
    torch.testing.assert_close(outputs["dla5"].double(), maps[5], rtol=1e-3, atol=1e-3)


def test_without_aggregation_the_networks_own_maps_come_out():
    names = [f"dla{i}" for i in range(6)]
    model = UpsampledDLA(use_dla_up=False, ms_output=True, out_features=names).eval()
    image = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(model(image), model.base(image))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"use_dla_up": False}, "USE_DLA_UP False needs MODEL.DLA.MS_OUTPUT True"),
        ({"out_features": ["dla1"]}, "OUT_FEATURES must be chosen from \\['dla2'\\]"),
        ({"out_features": ["dla1"], "ms_output": True}, "chosen from \\['dla2', 'dla3'"),
        ({"out_features": []}, "OUT_FEATURES must be chosen"),
    ],
)
def test_contradictory_settings_are_named(kwargs, message):
    with pytest.raises(UserError, match=message):
        UpsampledDLA(**kwargs)


@pytest.mark.parametrize(
    ("factor", "line"),
    [
        (2, [0.25, 0.75, 0.75, 0.25]),
        (4, [0.125, 0.375, 0.625, 0.875, 0.875, 0.625, 0.375, 0.125]),
    ],
)
def test_upsampling_starts_bilinear(factor, line):
    line = torch.tensor(line)
    torch.testing.assert_close(bilinear_kernel(factor), torch.outer(line, line))

    up = UpsampledDLA().ida_up.get_submodule(f"up_{factor // 2}")
    x = torch.rand(1, 64, 6, 7)
    plain = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    inner = (..., slice(factor, -factor), slice(factor, -factor))
    torch.testing.assert_close(up(x)[inner], plain[inner])


def test_every_trainable_parameter_gets_a_gradient():
    model = UpsampledDLA()
    (model(torch.rand(2, 3, 64, 64))["dla2"] ** 2).mean().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    offset = model.ida_up.proj_1.offset
    assert not offset.weight.any() and not offset.bias.any()
    assert offset.weight.grad.any()


@pytest.mark.parametrize("node", ["conv", "dcn"])
def test_strides_8_to_32_equal_the_reference(node, randomise, load_config):
    overrides = ["MODEL.BACKBONE.NAME", "build_dlaup_backbone", "MODEL.DLA.DLAUP_NODE", node]
    model = randomise(build_backbone(load_config("Base_S4_DLA.yaml", *overrides))).eval()
    image = torch.rand(1, 3, 32, 64)
    state = model.state_dict()
    with torch.no_grad():
        outputs = model(image)
        maps = reference_dla.dla(image, state, "bottom_up.")
        expected = reference_dla.dla_up(maps[3:], reference_dla.Weights(state))
    assert {n: (s.channels, s.stride) for n, s in model.output_shape().items()} == {
        "dlaup3": (128, 8), "dlaup4": (256, 16), "dlaup5": (512, 32)
    }  # fmt: skip
    for name, tensor in zip(("dlaup3", "dlaup4", "dlaup5"), expected):
        torch.testing.assert_close(outputs[name].double(), tensor, rtol=1e-3, atol=1e-3)
    assert {n.split(".")[0] for n in state} == {"bottom_up", "ida_0", "ida_1"}


@pytest.mark.parametrize(
    ("names", "node", "message"),
    [
        (["dla3", "dla4"], "cnn", "DLAUP_NODE must be one of \\['conv', 'dcn'\\], not 'cnn'"),
        (["dla3", "dla5"], "conv", "whose strides double, not \\['dla3', 'dla5'\\]"),
        (["dla3", "dla9"], "conv", "DLAUP_IN_FEATURES"),
    ],
)
def test_what_cannot_be_aggregated_is_named(names, node, message):
    with pytest.raises(UserError, match=message):
        DLAUp(DLA(), names, "BN", node)
