"""ResNet with transposed convolutions: values, names, first weights, mistakes."""

from __future__ import annotations

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from torchvision.models import resnet18, resnet50

from centernet2.config import add_centernet_config
from centernet2.errors import UserError
from centernet2.modeling.backbones import DeconvResNet

from . import reference_deconv
from .reference_dla import Weights


def trunk(reference, image):
    x = reference.maxpool(reference.relu(reference.bn1(reference.conv1(image))))
    return reference.layer4(reference.layer3(reference.layer2(reference.layer1(x))))


@pytest.mark.parametrize(
    ("depth", "channels", "deformable"),
    [(18, (24, 16, 12), True), (18, (16, 16, 16), False), (50, (20, 12, 6), True)],
)
def test_values_are_those_of_the_description(depth, channels, deformable, randomise):
    model = DeconvResNet(depth, channels=channels, deformable=deformable).double()
    model = randomise(model).eval()
    reference = {18: resnet18, 50: resnet50}[depth](weights=None).double().eval()
    result = reference.load_state_dict(model.state_dict(), strict=False)
    assert result.missing_keys == ["fc.weight", "fc.bias"]
    assert all(name.startswith("deconv_layers.") for name in result.unexpected_keys)

    image = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        found = model(image)
        expected = reference_deconv.deconv_layers(
            trunk(reference, image), Weights(model.state_dict(), "deconv_layers."), deformable
        )
    assert list(found) == ["p2"]
    assert found["p2"].shape == (1, channels[-1], 16, 24)
    assert expected.std() > 0.1
    torch.testing.assert_close(found["p2"], expected)


@pytest.mark.parametrize("deformable", [True, False])
def test_it_is_built_from_its_keys(deformable):
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.MODEL.BACKBONE.NAME = "build_deconv_resnet_backbone"
    cfg.MODEL.RESNETS.DEPTH = 101
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.DECONV.DEFORMABLE = deformable
    with torch.device("meta"):
        model = build_backbone(cfg)
    assert model.output_shape() == {"p2": ShapeSpec(channels=64, stride=4)}
    assert model.size_divisibility == 32
    blocks = [len(getattr(model, f"layer{i}")) for i in (1, 2, 3, 4)]
    assert blocks == [3, 4, 23, 3]
    assert len(model.deconv_layers) == (18 if deformable else 9)


def test_first_weights_are_the_published_ones():
    torch.manual_seed(0)
    layers = DeconvResNet(18).deconv_layers
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    for i in (3, 9, 15):
        weight = layers[i].weight.detach()
        channels = weight.shape[1]
        assert torch.equal(weight[:, 0], torch.outer(line, line).expand(channels, 4, 4))
        bound = (channels * 16) ** -0.5  # PyTorch's own draw, for a transposed convolution
        assert 0.98 * bound < weight[:, 1:].abs().max() <= bound
    for i in (0, 6, 12):
        weight = layers[i].conv.weight.detach()
        bound = (weight.shape[1] * 9) ** -0.5
        assert 0.98 * bound < weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
        assert not layers[i].conv.bias.any()
        assert not layers[i].offset.weight.any() and not layers[i].offset.bias.any()
    plain = DeconvResNet(18, deformable=False, channels=(256,) * 3).deconv_layers
    for i in (0, 3, 6):
        assert plain[i].weight.std().item() == pytest.approx(0.001, rel=0.02)


def test_a_gradient_reaches_every_parameter_with_a_batch_of_one():
    model = DeconvResNet(18, channels=(16, 12, 8)).train()
    (model(torch.rand(1, 3, 64, 64))["p2"] ** 2).mean().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]
    assert model.deconv_layers[0].offset.weight.grad.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 20}, r"MODEL.RESNETS.DEPTH must be in \[18, 34, 50, 101, 152\], not 20"),
        ({"channels": (64, 64)}, r"MODEL.DECONV.CHANNELS must be 3 numbers, not \[64, 64\]"),
        ({"norm": ""}, "MODEL.RESNETS.NORM is empty"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(UserError, match=message):
        DeconvResNet(**options)
