"""Res2Net computes what the published models do, quirks included."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_backbone

from centernet2.errors import UserError
from centernet2.modeling.backbones.res2net import Res2NetBlock, Res2NetStem

from . import reference_resnet as reference

NAME = "build_res2net_backbone"
PLAIN = ["MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False] * 4]
VARIANTS = {
    "published": ([], {}),
    "not deformable": (PLAIN, {}),
    "offsets without mask": (["MODEL.RESNETS.DEFORM_MODULATED", False], {"modulated": False}),
    "two deformable groups": (["MODEL.RESNETS.DEFORM_NUM_GROUPS", 2], {}),
    "groups": (["MODEL.RESNETS.NUM_GROUPS", 2], {"groups": 2}),
    "stride in 3x3": (["MODEL.RESNETS.STRIDE_IN_1X1", False], {"stride_in_1x1": False}),
    "dilated": (["MODEL.RESNETS.RES5_DILATION", 2], {"dilation": 2}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_maps_equal_the_reference(variant, narrow_backbone, randomise):
    overrides, layout = VARIANTS[variant]
    model = randomise(narrow_backbone(NAME, *overrides).double()).eval()
    # Odd sizes after each stage: ceil mode matters
    image = torch.rand(1, 3, 75, 106, dtype=torch.float64)
    with torch.no_grad():
        found = model(image)
        expected = reference.res2net(model.state_dict(), image, reference.Layout(**layout))
    assert list(found) == ["res2", "res3", "res4", "res5"]
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
        assert value.std() > 0.05


def block(in_channels=8, out_channels=8, **arguments):
    made = Res2NetBlock(
        in_channels, out_channels, bottleneck_channels=16, norm="FrozenBN", **arguments
    )
    return made.double().eval()


def inputs_of(module):
    """What the module is called with from now on, a list that grows."""
    seen = []
    module.register_forward_hook(lambda _, args, output: seen.append((args[0], output)))
    return seen


@pytest.mark.parametrize("out_channels", [8, 12], ids=["same channels", "channels change"])
def test_results_are_added_only_where_channels_stay(out_channels):
    """A block that changes its channels convolves each group by itself."""
    made = block(8, out_channels)
    x = torch.randn(1, 8, 6, 5, dtype=torch.float64)
    groups = F.relu(made.conv1(x)).chunk(4, dim=1)
    inputs, normed = [inputs_of(m) for m in made.convs], [inputs_of(m) for m in made.bns]
    made(x)
    assert torch.equal(inputs[0][0][0], groups[0])
    for i in (1, 2):
        earlier = F.relu(normed[i - 1][0][1])
        expected = groups[i] + earlier if out_channels == 8 else groups[i]
        torch.testing.assert_close(inputs[i][0][0], expected)


@pytest.mark.parametrize("stride_in_1x1", [True, False])
def test_the_fourth_group_is_passed_on_or_pooled_with_the_3x3_stride(stride_in_1x1):
    made = block(8, 12, stride=2, stride_in_1x1=stride_in_1x1)
    x = torch.randn(1, 8, 7, 6, dtype=torch.float64)
    last = F.relu(made.conv1(x)).chunk(4, dim=1)[3]
    seen = inputs_of(made.conv3)
    assert made(x).shape == (1, 12, 4, 3)
    if not stride_in_1x1:
        # The zeros around the map count
        last = F.avg_pool2d(F.pad(last, (1, 1, 1, 1)), 3, 2)
    torch.testing.assert_close(seen[0][0][:, 12:], last)


def test_the_shortcut_averages_and_counts_no_padding():
    made = block(8, 12, stride=2, stride_in_1x1=True)
    x = torch.zeros(1, 8, 5, 3, dtype=torch.float64)
    x[:, :, 4, 2] = 1  # the only pixel of its cell
    x[:, :, 0, 0] = 1  # one of four
    pooled = made.shortcut[0](x)
    assert pooled[0, 0].tolist() == [[0.25, 0], [0, 0], [0, 1]]
    assert made.shortcut[1].stride == (1, 1)


def test_offsets_come_from_the_input_of_their_own_branch():
    """After the result of the branch before has been added."""
    made = block(deform=True, deform_modulated=True)
    for offsets in made.conv2_offsets:
        torch.nn.init.normal_(offsets.weight, std=0.3)
    predicted = [inputs_of(m) for m in made.conv2_offsets]
    convolved = [inputs_of(m) for m in made.convs]
    made(torch.randn(1, 8, 6, 5, dtype=torch.float64))
    for own_offsets, own in zip(predicted, convolved):
        assert torch.equal(own_offsets[0][0], own[0][0])
    assert all(m.bias is None for m in made.conv2_offsets)


def test_a_fresh_deformable_block_is_the_plain_one_at_half_weight():
    plain, deformable = block(), block(deform=True, deform_modulated=True)
    state = plain.state_dict()
    halved = {k: 2 * v if k.startswith("convs") else v for k, v in state.items()}
    missing = deformable.load_state_dict(halved, strict=False).missing_keys
    assert missing == [f"conv2_offsets.{i}.weight" for i in range(3)]
    x = torch.randn(2, 8, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(deformable(x), plain(x))


def test_the_stem_has_stride_4_on_any_size():
    stem = Res2NetStem(3, 16)
    assert stem(torch.rand(2, 3, 33, 50)).shape == (2, 16, 9, 13)


@pytest.mark.parametrize("freeze_at", [0, 2, 4])
def test_frozen_stages_and_gradients_everywhere_else(freeze_at, narrow_backbone):
    model = narrow_backbone(
        NAME, "MODEL.BACKBONE.FREEZE_AT", freeze_at, "MODEL.RESNETS.NORM", "BN"
    ).train()
    frozen = ["stem", "res2", "res3", "res4", "res5"][:freeze_at]
    sum(v.square().mean() for v in model(torch.rand(2, 3, 64, 64)).values()).backward()
    for name, parameter in model.named_parameters():
        if name.split(".")[0] in frozen:
            assert not parameter.requires_grad
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    for name, child in model.named_children():
        frozen_norms = [isinstance(m, FrozenBatchNorm2d) for m in child.modules()]
        assert any(frozen_norms) == (name in frozen)


def test_bfloat16_autocast_is_close_to_full_precision(narrow_backbone, randomise):
    model = randomise(narrow_backbone(NAME)).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(image)["res5"]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model(image)["res5"].float()
    assert (found - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("norm", ["", "GN", "SyncBN"])
def test_other_norms(norm, narrow_backbone):
    width = ["MODEL.RESNETS.WIDTH_PER_GROUP", 32, "MODEL.RESNETS.RES2_OUT_CHANNELS", 32]
    model = narrow_backbone(
        NAME, "MODEL.RESNETS.NORM", norm, "MODEL.RESNETS.STEM_OUT_CHANNELS", 64, *width
    ).eval()
    assert model(torch.rand(1, 3, 32, 32))["res5"].isfinite().all()


@pytest.mark.parametrize(
    ("depth", "blocks"), [(50, (3, 4, 6, 3)), (101, (3, 4, 23, 3)), (152, (3, 8, 36, 3))]
)
def test_blocks_and_widths_of_each_depth(depth, blocks, load_config):
    cfg = load_config(
        "CenterNet2_R50_1x.yaml",
        "MODEL.BACKBONE.NAME", NAME,
        "MODEL.RESNETS.DEPTH", depth,
        "MODEL.RESNETS.RES2_OUT_CHANNELS", 256,
        "MODEL.RESNETS.WIDTH_PER_GROUP", 26,
        "MODEL.DEVICE", "meta",
    )  # fmt: skip
    with torch.device("meta"):
        model = build_backbone(cfg)
    stages = [model.res2, model.res3, model.res4, model.res5]
    assert tuple(len(stage) for stage in stages) == blocks
    assert [s[0].conv1.out_channels for s in stages] == [104, 208, 416, 832]
    assert [s[0].convs[0].out_channels for s in stages] == [26, 52, 104, 208]
    shapes = model.output_shape()
    assert [(s.stride, s.channels) for s in shapes.values()] == [(8, 512), (16, 1024), (32, 2048)]


def test_an_unknown_depth_is_named(narrow_backbone):
    with pytest.raises(UserError, match="DEPTH is 18; of Res2Net there are"):
        narrow_backbone(NAME, "MODEL.RESNETS.DEPTH", 18)


def test_pyramid_on_an_odd_size(narrow_backbone):
    model = narrow_backbone("build_p67_res2net_fpn_backbone")
    outputs = model(torch.rand(1, 3, 96, 160))
    assert [tuple(t.shape[2:]) for t in outputs.values()] == [
        (12, 20), (6, 10), (3, 5), (2, 3), (1, 2)
    ]  # fmt: skip
    assert list(outputs) == ["p3", "p4", "p5", "p6", "p7"]
    torch.testing.assert_close(outputs["p6"], model.top_block.p6(outputs["p5"]))
