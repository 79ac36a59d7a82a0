"""DLA computes what its description says; what is not trained; what loads."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_backbone

from centernet2.errors import UserError
from centernet2.modeling.backbones import DLA

from . import reference_dla

ALL = [f"dla{i}" for i in range(6)]


@pytest.mark.parametrize("layers", [34, 60])
def test_all_maps_equal_the_reference(layers, randomise):
    model = randomise(DLA(layers, out_features=ALL)).eval()
    image = torch.rand(2, 3, 32, 64)
    with torch.no_grad():
        outputs = model(image)
        expected = reference_dla.dla(image, model.state_dict(), layers=layers)
    assert list(outputs) == ALL
    for i, (name, shape) in enumerate(model.output_shape().items()):
        torch.testing.assert_close(outputs[name].double(), expected[i], rtol=1e-4, atol=1e-4)
        assert shape.stride == 2**i and shape.channels == expected[i].shape[1]
        assert outputs[name].shape[2:] == (32 // shape.stride, 64 // shape.stride)


def test_a_norm_without_statistics_can_be_chosen():
    for norm in ("GN", "FrozenBN", ""):
        kwargs = {"norm": norm} if norm != "GN" else {"norm": _group_norm}
        assert DLA(34, **kwargs)(torch.rand(1, 3, 32, 32))["dla5"].shape == (1, 512, 1, 1)


def _group_norm(channels):
    return torch.nn.GroupNorm(8, channels)


def test_every_trainable_parameter_gets_a_gradient_and_the_unused_ones_are_kept_fixed():
    model = DLA(34, out_features=ALL)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sum(x.mean() for x in model(torch.rand(2, 3, 64, 64)).values()).backward()
    unused = {
        f"level{i}.project.{name}" for i in (3, 4) for name in ("0.weight", "1.weight", "1.bias")
    }
    assert {name for name, p in model.named_parameters() if p.grad is None} == unused
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == unused
    for i in (3, 4):
        name = f"level{i}.project.1.running_mean"
        assert torch.equal(model.state_dict()[name], before[name])


def test_an_overflow_reaches_the_gradients_of_used_layers_only():
    """A training step must not turn parameters that no result depends on into NaN."""
    model = DLA(34)
    (model(torch.rand(2, 3, 32, 32))["dla5"].sum() * float("inf")).backward()
    assert model.level3.project[0].weight.grad is None
    assert not model.level5.project[0].weight.grad.isfinite().all()


def test_the_classifier_of_imagenet_weights_is_dropped():
    model = DLA()
    state = DLA().state_dict()
    result = model.load_state_dict(
        {**state, "fc.weight": torch.rand(1000, 512, 1, 1), "fc.bias": torch.rand(1000)}
    )
    assert not result.missing_keys and not result.unexpected_keys
    assert torch.equal(model.base_layer[0].weight, state["base_layer.0.weight"])
    with pytest.raises(RuntimeError, match="other"):
        model.load_state_dict({**state, "other.weight": torch.rand(1)})


def test_convolutions_start_with_the_published_deviation():
    torch.manual_seed(0)
    weight = DLA().level5.tree2.conv2.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_layers": 50}, "NUM_LAYERS must be in \\[34, 60\\], not 50"),
        ({"out_features": ["res3"]}, "no feature maps \\['res3'\\]"),
    ],
)
def test_mistakes_are_named(kwargs, message):
    with pytest.raises(UserError, match=message):
        DLA(**kwargs)


@pytest.mark.parametrize("norm", ["BN", "SyncBN"])
def test_a_single_process_on_the_cpu_normalizes_batches_with_either_norm(norm, load_config):
    name = "CenterNet2_DLA-BiFPN-P3_4x.yaml"
    trunk = build_backbone(load_config(name, "MODEL.DLA.NORM", norm)).bottom_up.backbone
    state = DLA().state_dict()
    trunk.load_state_dict(state)
    plain = DLA()
    plain.load_state_dict(state)
    image = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(trunk.train()(image), plain.train()(image))
    torch.testing.assert_close(trunk.eval()(image), plain.eval()(image))
