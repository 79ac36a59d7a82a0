"""DLA of Objects as Points: CenterNet-S4's network under another name of its map."""

from __future__ import annotations

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone

from centernet2.config import add_centernet_config
from centernet2.modeling.backbones import Stride4DLA, UpsampledDLA


def test_it_computes_what_the_other_does(randomise):
    other = randomise(UpsampledDLA()).eval()
    model = Stride4DLA().eval()
    model.load_state_dict(other.state_dict())
    image = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        found = model(image)
        assert list(found) == ["p2"]
        assert torch.equal(found["p2"], other(image)["dla2"])


def test_it_is_built_from_its_keys():
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.MODEL.BACKBONE.NAME = "build_stride4_dla_backbone"
    with torch.device("meta"):
        model = build_backbone(cfg)
    assert model.output_shape() == {"p2": ShapeSpec(channels=64, stride=4)}
    assert model.size_divisibility == 32


def test_deformable_convolutions_start_as_published():
    torch.manual_seed(0)
    node = Stride4DLA().ida_up.proj_2
    bound = (256 * 9) ** -0.5
    assert 0.98 * bound < node.conv.weight.abs().max() <= bound
    assert node.conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert not node.conv.bias.any()
