"""Pyramids on ResNet: levels, strides, and where P6 and P7 come from."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_backbone


@pytest.mark.parametrize(
    ("depth", "res2"), [(18, 64), (34, 64), (50, 256), (101, 256)], ids=["18", "34", "50", "101"]
)
def test_p3_to_p7_of_all_depths(depth, res2, load_config):
    cfg = load_config(
        "CenterNet2_R50_1x.yaml",
        "MODEL.RESNETS.DEPTH",
        depth,
        "MODEL.RESNETS.RES2_OUT_CHANNELS",
        res2,
    )
    backbone = build_backbone(cfg).eval()
    with torch.no_grad():
        outputs = backbone(torch.rand(1, 3, 96, 160))
    assert {n: s.stride for n, s in backbone.output_shape().items()} == {
        "p3": 8, "p4": 16, "p5": 32, "p6": 64, "p7": 128
    }  # fmt: skip
    # the image is padded to 32 pixels only: P6 and P7 are rounded up
    assert [tuple(t.shape[2:]) for t in outputs.values()] == [
        (12, 20), (6, 10), (3, 5), (2, 3), (1, 2)
    ]  # fmt: skip
    assert backbone.size_divisibility == 32


def test_p6_and_p7_are_convolved_from_p5(load_config):
    backbone = build_backbone(load_config("CenterNet2_R50_1x.yaml")).eval()
    with torch.no_grad():
        outputs = backbone(torch.rand(1, 3, 128, 128))
        p6 = backbone.top_block.p6(outputs["p5"])
        p7 = backbone.top_block.p7(F.relu(p6))
    torch.testing.assert_close(outputs["p6"], p6)
    torch.testing.assert_close(outputs["p7"], p7)


def test_p3_to_p5(load_config):
    cfg = load_config(
        "CenterNet2_R50_1x.yaml", "MODEL.BACKBONE.NAME", "build_p35_resnet_fpn_backbone"
    )
    backbone = build_backbone(cfg)
    assert list(backbone.output_shape()) == ["p3", "p4", "p5"]
    assert not any("top_block" in name for name in backbone.state_dict())
