"""The BiFPN with 2x2 pooling: values, names, quirks, mistakes."""

from __future__ import annotations

import pytest
import torch

from centernet2.errors import UserError
from centernet2.modeling.backbones import BiFPN

from . import reference_bifpn
from .raw_maps import RawMaps

NAMES = ["dla3", "dla4", "dla5"]
IMAGE = torch.zeros(2, 3, 1, 1)  # RawMaps does not look at it


def test_values_equal_the_reference(randomise):
    raw = RawMaps(128, 256)
    model = randomise(BiFPN(raw, NAMES, 64, "GN", num_bifpn=2)).eval()
    with torch.no_grad():
        outputs = model(IMAGE)
        expected = reference_bifpn.flavour_a(list(raw.maps.values()), model.state_dict(), 2)
    for name, tensor in zip(outputs, expected):
        torch.testing.assert_close(outputs[name].double(), tensor, rtol=1e-4, atol=1e-4)
    assert {n: (s.channels, s.stride) for n, s in model.output_shape().items()} == {
        "p3": (64, 8), "p4": (64, 16), "p5": (64, 32), "p6": (64, 64), "p7": (64, 128)
    }  # fmt: skip
    assert [tuple(x.shape[2:]) for x in outputs.values()] == [
        (16, 32), (8, 16), (4, 8), (2, 4), (1, 2)
    ]  # fmt: skip
    assert model.size_divisibility == 128


def test_separable_convolutions_equal_the_reference(randomise):
    raw = RawMaps(128, 128)
    model = randomise(BiFPN(raw, NAMES, 32, "GN", num_bifpn=1, separable_conv=True)).eval()
    with torch.no_grad():
        outputs = model(IMAGE)
        expected = reference_bifpn.flavour_a(list(raw.maps.values()), model.state_dict(), 1)
    for name, tensor in zip(outputs, expected):
        torch.testing.assert_close(outputs[name].double(), tensor, rtol=1e-4, atol=1e-4)
    names = {n for n in model.state_dict() if n.startswith("cell.0.fnode.7.after_combine")}
    prefix = "cell.0.fnode.7.after_combine.conv."
    assert {n[len(prefix) :] for n in names} == {
        "conv_dw.weight", "conv_pw.weight", "bn.weight", "bn.bias"
    }  # fmt: skip


def test_every_fusion_projects_the_raw_maps_for_itself_and_only_in_the_first_layer():
    model = BiFPN(RawMaps(128, 128), NAMES, 32, "GN", num_bifpn=3)
    projections = {n for n in model.state_dict() if ".resample." in n and n.endswith("conv.weight")}
    assert projections == {
        f"cell.0.fnode.{n}.combine.resample.{offset}.conv.conv.weight"
        for n, offset in [(1, 2), (2, 1), (3, 0), (4, 1), (5, 2)]
    }
    assert not any(n.endswith("conv.bias") for n in model.state_dict())


def test_maps_of_the_right_width_are_not_projected():
    model = BiFPN(RawMaps(128, 128, channels=(32, 32, 32)), NAMES, 32, "GN", num_bifpn=1)
    assert not any("resample" in name for name in model.state_dict())
    assert model(IMAGE)["p7"].shape == (2, 32, 1, 1)


def test_without_a_norm_convolutions_have_a_bias():
    state = BiFPN(RawMaps(128, 128), NAMES, 32, "", num_bifpn=1).state_dict()
    assert "cell.0.fnode.0.after_combine.conv.conv.bias" in state
    assert "resample.3.conv.conv.bias" in state
    assert not any("bn" in name for name in state)


def test_fusions_start_as_plain_means_and_every_parameter_learns():
    model = BiFPN(RawMaps(128, 128), NAMES, 32, "GN", num_bifpn=2)
    weights = {n: p for n, p in model.named_parameters() if n.endswith("edge_weights")}
    assert len(weights) == 16 and all((p == 1).all() for p in weights.values())
    sum((x**3).mean() for x in model(IMAGE).values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_levels": 4}, "NUM_LEVELS must be 5 for this backbone, not 4"),
        ({"in_features": ["res3", "dla4", "dla5"]}, "IN_FEATURES names \\['res3'\\]"),
        ({"in_features": ["dla4", "dla5"]}, "must name three maps whose strides double"),
        ({"in_features": ["dla5", "dla4", "dla3"]}, "strides \\[32, 16, 8\\]"),
    ],
)
def test_mistakes_are_named(kwargs, message):
    arguments = {"in_features": NAMES, "out_channels": 32, "norm": "GN", **kwargs}
    with pytest.raises(UserError, match=message):
        BiFPN(RawMaps(128, 128), **arguments)
