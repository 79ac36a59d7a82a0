"""Feature pyramids on DLA: levels, and where P6 comes from."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_backbone


@pytest.fixture
def build(load_config):
    def make(name):
        return build_backbone(
            load_config(
                "CenterNet2_R50_1x.yaml",
                "MODEL.BACKBONE.NAME", name,
                "MODEL.FPN.IN_FEATURES", ["dla3", "dla4", "dla5"],
            )
        ).eval()  # fmt: skip

    return make


def test_three_levels(build):
    backbone = build("build_dla_fpn3_backbone")
    outputs = backbone(torch.rand(1, 3, 64, 96))
    assert {n: s.stride for n, s in backbone.output_shape().items()} == {
        "p3": 8,
        "p4": 16,
        "p5": 32,
    }
    assert {n: x.shape[2:] for n, x in outputs.items()} == {
        "p3": (8, 12),
        "p4": (4, 6),
        "p5": (2, 3),
    }
    assert not any("top_block" in name for name in backbone.state_dict())


@pytest.mark.parametrize("name", ["build_dla_fpn5_backbone", "build_retinanet_dla_fpn_backbone"])
def test_p6_is_convolved_from_the_networks_last_map(name, build):
    backbone = build(name)
    image = torch.rand(1, 3, 64, 96)
    outputs = backbone(image)
    p6 = backbone.top_block.p6(backbone.bottom_up(image)["dla5"])
    torch.testing.assert_close(outputs["p6"], p6)
    torch.testing.assert_close(outputs["p7"], backbone.top_block.p7(p6.relu()))
    assert list(outputs) == ["p3", "p4", "p5", "p6", "p7"]
    assert backbone.size_divisibility == 32
