"""The BiFPN with overlapping pooling: values, names, quirks, mistakes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from centernet2.errors import UserError
from centernet2.modeling.backbones import FcosBiFPN

from . import reference_bifpn
from .raw_maps import RawMaps

NAMES = ["dla3", "dla4", "dla5"]
IMAGE = torch.zeros(2, 3, 1, 1)  # RawMaps does not look at it


@pytest.mark.parametrize("levels", [3, 5])
@pytest.mark.parametrize(
    ("height", "width"),
    [(128, 256), (200, 136), (64, 8)],
    ids=["padded", "not a multiple", "one cell wide"],
)
def test_values_equal_the_reference(levels, height, width, randomise):
    raw = RawMaps(height, width)
    model = randomise(FcosBiFPN(raw, NAMES, 64, "GN", num_levels=levels, num_bifpn=2)).eval()
    torch.manual_seed(0)
    for name, weights in model.named_parameters():
        if "weights_f" in name:
            nn.init.uniform_(weights, -0.2, 1)
    with torch.no_grad():
        outputs = model(IMAGE)
        expected = reference_bifpn.flavour_b(
            list(raw.maps.values()), model.state_dict(), 2, "dla6" if levels == 5 else None
        )
    assert list(outputs) == [f"p{i}" for i in range(3, 3 + levels)]
    for i, (name, shape) in enumerate(model.output_shape().items()):
        torch.testing.assert_close(outputs[name].double(), expected[i], rtol=1e-4, atol=1e-4)
        assert (shape.channels, shape.stride) == (64, 8 * 2**i)
        # resampled maps are rounded up
        assert outputs[name].shape[2:] == (-(-height // shape.stride), -(-width // shape.stride))


@pytest.mark.parametrize("levels", [3, 5])
def test_images_are_padded_to_128_also_for_three_levels(levels):
    model = FcosBiFPN(RawMaps(128, 128), NAMES, 32, "GN", num_levels=levels)
    assert model.size_divisibility == 128


@pytest.mark.parametrize(
    ("levels", "laterals"),
    [(5, ["0_f0", "1_f1", "2_f2"]), (3, ["0_f0", "1_f1", "2_f1", "2_f2"])],
)
def test_fusions_on_a_level_share_projections_which_have_a_bias(levels, laterals):
    model = FcosBiFPN(RawMaps(128, 128), NAMES, 32, "GN", num_levels=levels, num_bifpn=2)
    names = {n for n in model.state_dict() if "lateral" in n}
    assert names == {
        f"repeated_bifpn.0.lateral_{name}.{part}"
        for name in laterals
        for part in ("weight", "bias", "norm.weight", "norm.bias")
    }
    # both fusions on level 1 see the projection
    lateral = model.repeated_bifpn[0].lateral_1_f1
    calls = []
    lateral.register_forward_hook(lambda *_: calls.append(1))
    outputs = model(IMAGE)
    assert len(calls) == 1
    outputs["p5"].sum().backward()
    assert lateral.weight.grad.any()


def test_the_level_above_a_resnet_is_named_after_it():
    raw = RawMaps(128, 128)
    raw.shapes = {name.replace("dla", "res"): shape for name, shape in raw.shapes.items()}
    raw.maps = {name.replace("dla", "res"): tensor for name, tensor in raw.maps.items()}
    model = FcosBiFPN(raw, ["res3", "res4", "res5"], 32, "GN", num_bifpn=1)
    names = {n for n in model.state_dict() if n.startswith("bottom_up")}
    assert names == {
        f"bottom_up.res6.reduction.{part}" for part in ("weight", "norm.weight", "norm.bias")
    }


def test_fusions_start_as_plain_means_and_every_parameter_learns():
    model = FcosBiFPN(RawMaps(128, 128), NAMES, 32, "GN", num_bifpn=2)
    weights = {n: p for n, p in model.named_parameters() if "weights_f" in n}
    assert len(weights) == 16 and all((p == 1).all() for p in weights.values())
    sum((x**3).mean() for x in model(IMAGE).values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_other_numbers_of_levels_are_refused():
    with pytest.raises(UserError, match="NUM_LEVELS must be 3 or 5, not 4"):
        FcosBiFPN(RawMaps(128, 128), NAMES, 32, "GN", num_levels=4)
