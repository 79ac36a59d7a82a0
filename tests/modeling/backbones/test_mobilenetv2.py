"""MobileNetV2 computes what torchvision's does, under the names of its weights."""

from __future__ import annotations

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d
from torchvision.models import mobilenet_v2

from centernet2.modeling.backbones import MobileNetV2


def test_outputs_equal_torchvisions_with_its_weights():
    reference = mobilenet_v2(weights=None).eval()
    model = MobileNetV2(("res2", "res3", "res4", "res5")).eval()
    result = model.load_state_dict(reference.state_dict(), strict=False)
    assert not result.missing_keys
    assert {k.split(".")[0] for k in result.unexpected_keys} <= {"classifier", "features"}

    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        outputs = model(image)
        expected = image
        for i, block in enumerate(reference.features[:18]):
            expected = block(expected)
            for name, end in {"res2": 3, "res3": 6, "res4": 13, "res5": 17}.items():
                if i == end:
                    torch.testing.assert_close(outputs[name], expected)
    for name, shape in model.output_shape().items():
        assert outputs[name].shape[1] == shape.channels
        assert outputs[name].shape[2] == 64 // shape.stride


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
    with pytest.raises(ValueError, match="res9"):
        MobileNetV2(("res9",))
