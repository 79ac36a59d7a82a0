"""The registered builders of bidirectional pyramids: strides, padding, keys that they read."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_backbone

from centernet2.errors import UserError

DLA = ["MODEL.FPN.IN_FEATURES", ["dla3", "dla4", "dla5"]]
SMALL = ["MODEL.BIFPN.OUT_CHANNELS", 32, "MODEL.BIFPN.NUM_BIFPN", 1]


@pytest.fixture
def build(load_config):
    def make(name, *overrides):
        own = DLA if "dla" in name else []
        return build_backbone(
            load_config(
                "CenterNet2_R50_1x.yaml", "MODEL.BACKBONE.NAME", name, *own, *SMALL, *overrides
            )
        )

    return make


@pytest.mark.parametrize(
    ("name", "levels", "trunk"),
    [
        ("build_p37_dla_bifpn_backbone", 5, "bottom_up.level5."),
        ("build_p37_fcos_dla_bifpn_backbone", 5, "bottom_up.backbone.level5."),
        ("build_p35_fcos_dla_bifpn_backbone", 3, "bottom_up.backbone.level5."),
        ("build_resnet_bifpn_backbone", 5, "bottom_up.res5."),
        ("build_fcos_resnet_bifpn_backbone", 5, "bottom_up.backbone.res5."),
        ("build_p35_fcos_resnet_bifpn_backbone", 3, "bottom_up.backbone.res5."),
    ],
)
def test_levels_padding_and_gradients(name, levels, trunk, build):
    backbone = build(name)
    outputs = backbone(torch.rand(2, 3, 128, 128))
    assert {n: s.stride for n, s in backbone.output_shape().items()} == {
        f"p{i}": 2**i for i in range(3, 3 + levels)
    }
    assert {n: tuple(x.shape) for n, x in outputs.items()} == {
        f"p{i}": (2, 32, 128 // 2**i, 128 // 2**i) for i in range(3, 3 + levels)
    }
    assert backbone.size_divisibility == 128
    assert any(n.startswith(trunk) for n in backbone.state_dict())
    sum((x**3).mean() for x in outputs.values()).backward()
    for n, parameter in backbone.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, n


def test_the_keys_are_read(build):
    backbone = build(
        "build_p37_dla_bifpn_backbone",
        "MODEL.BIFPN.NUM_BIFPN", 3,
        "MODEL.BIFPN.OUT_CHANNELS", 64,
        "MODEL.BIFPN.SEPARABLE_CONV", True,
        "MODEL.BIFPN.NORM", "BN",
        "MODEL.DLA.NORM", "FrozenBN",
        "MODEL.DLA.NUM_LAYERS", 60,
    )  # fmt: skip
    state = backbone.state_dict()
    assert len(backbone.cell) == 3
    assert state["cell.2.fnode.7.after_combine.conv.conv_dw.weight"].shape == (64, 1, 3, 3)
    assert "cell.2.fnode.7.after_combine.conv.bn.running_var" in state
    assert not any("bn" in n for n, _ in backbone.bottom_up.named_parameters())
    assert "bottom_up.level5.tree1.conv3.weight" in state


@pytest.mark.parametrize(
    "name",
    ["build_p37_fcos_dla_bifpn_backbone", "build_fcos_resnet_bifpn_backbone"],
)
def test_five_levels_need_the_key_to_say_so(name, build):
    with pytest.raises(UserError, match=f"{name} has five levels: set MODEL.BIFPN.NUM_LEVELS to 5"):
        build(name, "MODEL.BIFPN.NUM_LEVELS", 3)


def test_three_levels_do_not_read_that_key(build):
    backbone = build("build_p35_fcos_dla_bifpn_backbone", "MODEL.BIFPN.NUM_LEVELS", 5)
    assert list(backbone.output_shape()) == ["p3", "p4", "p5"]
