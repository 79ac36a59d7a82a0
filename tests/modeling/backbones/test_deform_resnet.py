"""Detectron2's deformable ResNet, by any of its builders, without Detectron2's compiled code."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling.backbone.resnet import BottleneckBlock, DeformBottleneckBlock

from centernet2.layers import DeformConv

from . import reference_resnet as reference

BUILDERS = [
    "build_resnet_backbone",
    "build_resnet_fpn_backbone",
    "build_retinanet_resnet_fpn_backbone",
    "build_p67_resnet_fpn_backbone",
    "build_p35_resnet_fpn_backbone",
]
PLAIN = ["MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False] * 4]
VARIANTS = {
    "modulated": ([], {}),
    "offsets without mask": (["MODEL.RESNETS.DEFORM_MODULATED", False], {"modulated": False}),
    "two deformable groups": (["MODEL.RESNETS.DEFORM_NUM_GROUPS", 2], {}),
    "two, without mask": (
        ["MODEL.RESNETS.DEFORM_NUM_GROUPS", 2, "MODEL.RESNETS.DEFORM_MODULATED", False],
        {"modulated": False},
    ),
    "ResNeXt": (
        ["MODEL.RESNETS.NUM_GROUPS", 4, "MODEL.RESNETS.STRIDE_IN_1X1", False],
        {"groups": 4, "stride_in_1x1": False},
    ),
    "dilated": (["MODEL.RESNETS.RES5_DILATION", 2], {"dilation": 2}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_maps_equal_the_reference(variant, narrow_backbone, randomise):
    overrides, layout = VARIANTS[variant]
    model = randomise(narrow_backbone("build_resnet_backbone", *overrides).double()).eval()
    image = torch.rand(1, 3, 75, 106, dtype=torch.float64)
    with torch.no_grad():
        found = model(image)
        expected = reference.resnet(model.state_dict(), image, reference.Layout(**layout))
    assert list(found) == ["res2", "res3", "res4", "res5"]
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
        assert value.std() > 0.05


@pytest.mark.parametrize("name", BUILDERS)
def test_every_builder_makes_the_flagged_stages_deformable(name, narrow_backbone):
    model = narrow_backbone(name)
    trunk = model if name == "build_resnet_backbone" else model.bottom_up
    for stage, kind in zip(
        [trunk.res2, trunk.res3, trunk.res4, trunk.res5],
        [BottleneckBlock, BottleneckBlock, DeformBottleneckBlock, DeformBottleneckBlock],
    ):
        assert {type(block) for block in stage} == {kind}
    assert all(isinstance(b.conv2, DeformConv) for b in [*trunk.res4, *trunk.res5])
    outputs = model(torch.rand(1, 3, 64, 64))
    assert set(outputs) == set(model.output_shape())
    assert all(value.isfinite().all() for value in outputs.values())


def test_only_the_offsets_are_named_in_addition(narrow_backbone):
    def names(*overrides):
        model = narrow_backbone("build_p67_resnet_fpn_backbone", *overrides)
        return {name: tuple(value.shape) for name, value in model.state_dict().items()}

    plain, deformable = names(*PLAIN), names()
    assert plain.items() <= deformable.items()
    expected = {
        f"bottom_up.{stage}.{i}.conv2_offset.{name}": shape
        for stage, blocks, width in [("res4", 6, 16), ("res5", 3, 32)]
        for i in range(blocks)
        for name, shape in [("weight", (27, width, 3, 3)), ("bias", (27,))]
    }
    assert dict(deformable.items() - plain.items()) == expected


@pytest.mark.parametrize(("modulated", "share"), [(True, 0.5), (False, 1.0)])
def test_before_training_it_is_the_plain_network_with_masks_of_a_half(
    modulated, share, narrow_backbone, randomise
):
    plain = randomise(narrow_backbone("build_resnet_backbone", *PLAIN)).eval()
    model = narrow_backbone(
        "build_resnet_backbone", "MODEL.RESNETS.DEFORM_MODULATED", modulated
    ).eval()
    deformable = {f"{s}.{i}.conv2.weight" for s, n in (("res4", 6), ("res5", 3)) for i in range(n)}
    state = plain.state_dict()
    state = {k: v / share if k in deformable else v for k, v in state.items()}
    result = model.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    assert all("conv2_offset" in name for name in result.missing_keys)
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        found, expected = model(image), plain(image)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-4, rtol=1e-4)


def test_a_step_reaches_the_offsets_and_frozen_stages_stay(narrow_backbone):
    model = narrow_backbone(
        "build_resnet_backbone",
        "MODEL.BACKBONE.FREEZE_AT", 4,
        "MODEL.RESNETS.DEFORM_MODULATED", True,
    ).train()  # fmt: skip
    model(torch.rand(2, 3, 64, 64))["res5"].square().mean().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in gradients} == {"res5"}
    assert not [n for n, g in gradients.items() if g is None or not g.isfinite().all()]
    assert all(gradients[f"res5.{i}.conv2_offset.weight"].any() for i in range(3))


def test_bfloat16_autocast_is_close_to_full_precision(narrow_backbone, randomise):
    model = randomise(narrow_backbone("build_resnet_backbone")).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(image)["res5"]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model(image)["res5"].float()
    assert (found - expected).norm() < 0.05 * expected.norm()
