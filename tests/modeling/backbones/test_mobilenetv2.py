"""MobileNetV2 computes what torchvision's does, under the names of its weights."""

from __future__ import annotations

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_backbone
from torchvision.models import mobilenet_v2

from centernet2.config import add_centernet_config
from centernet2.errors import UserError
from centernet2.modeling.backbones import MobileNetV2


def test_outputs_equal_torchvisions_with_its_weights():
    reference = mobilenet_v2(weights=None).eval()
    ends = {"res2": 3, "res3": 6, "res4a": 10, "res4": 13, "res5": 17, "last": 18}
    model = MobileNetV2(tuple(ends)).eval()
    result = model.load_state_dict(reference.state_dict(), strict=False)
    assert not result.missing_keys
    assert {k.split(".")[0] for k in result.unexpected_keys} == {"classifier"}

    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        outputs = model(image)
        expected = image
        for i, block in enumerate(reference.features):
            expected = block(expected)
            for name, end in ends.items():
                if i == end:
                    torch.testing.assert_close(outputs[name], expected)
    assert outputs.keys() == ends.keys()
    for name, shape in model.output_shape().items():
        assert outputs[name].shape[1] == shape.channels
        assert outputs[name].shape[2] == 64 // shape.stride


def test_the_last_convolution_is_there_only_if_used():
    names = MobileNetV2(("res2", "res5")).state_dict()
    assert {int(name.split(".")[1]) for name in names} == set(range(18))


@pytest.mark.parametrize("width_mult", [0.5, 1.0])
def test_channels_follow_the_width(width_mult):
    model = MobileNetV2(width_mult=width_mult)
    outputs = model(torch.rand(1, 3, 64, 64))
    assert {n: t.shape[1] for n, t in outputs.items()} == {
        n: s.channels for n, s in model.output_shape().items()
    }


def test_frozen_blocks_do_not_train():
    model = MobileNetV2(freeze_at=2)
    frozen = {name.split(".")[1] for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"0", "1", "2", "3"}
    assert not any(
        isinstance(m, torch.nn.BatchNorm2d) for i in range(4) for m in model.features[i].modules()
    )
    frozen_norm = MobileNetV2(norm="FrozenBN")
    assert any(isinstance(m, FrozenBatchNorm2d) for m in frozen_norm.modules())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in frozen_norm.modules())


def test_an_unknown_map_is_named():
    with pytest.raises(UserError, match="res9"):
        MobileNetV2(("res9",))


@pytest.mark.parametrize(
    ("builder", "stages", "levels"),
    [
        ("build_mobilenetv2_fpn_backbone", (2, 3, 4, 5), (2, 3, 4, 5, 6)),
        ("build_p67_mobilenetv2_fpn_backbone", (3, 4, 5), (3, 4, 5, 6, 7)),
    ],
)
def test_pyramids_have_their_levels(builder, stages, levels):
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.MODEL.BACKBONE.NAME = builder
    cfg.MODEL.MOBILENETV2.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = [f"res{s}" for s in stages]
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    model = build_backbone(cfg)
    outputs = model(torch.rand(1, 3, 128, 256))
    assert {n: tuple(t.shape[1:]) for n, t in outputs.items()} == {
        f"p{level}": (16, 128 >> level, 256 >> level) for level in levels
    }
    assert {n: s.stride for n, s in model.output_shape().items()} == {
        f"p{level}": 2**level for level in levels
    }
