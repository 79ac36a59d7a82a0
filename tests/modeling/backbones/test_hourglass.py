"""Stacked hourglasses: published names, values against the reference, sizes, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_backbone

from centernet2.config import add_centernet_config
from centernet2.errors import UserError
from centernet2.modeling.backbones import StackedHourglass

from .reference_hourglass import Reference

LISTS = Path(__file__).resolve().parents[2] / "data" / "published_state_dicts" / "triplets"
TRUNK = ("pre.", "kps.", "cnvs.", "cnvs_.", "inters.", "inters_.")
NARROW = {"dims": (8, 8, 12, 16), "blocks": (2, 1, 3, 4), "stem_channels": 4}


@pytest.mark.parametrize(
    ("published", "stacks"), [("CenterNet-104", 2), ("CenterNet-52", 1), ("CornerNet-104", 2)]
)
def test_names_and_shapes_are_the_published_ones(published, stacks):
    names = json.loads((LISTS / f"{published}.json").read_text())
    with torch.device("meta"):
        backbone = StackedHourglass(stacks)
    shapes = {k: list(v.shape) for k, v in backbone.state_dict().items()}
    assert shapes == {k: v for k, v in names.items() if k.startswith(TRUNK)}


def test_it_is_built_from_its_keys():
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.MODEL.BACKBONE.NAME = "build_hourglass_backbone"
    with torch.device("meta"):
        backbone = build_backbone(cfg)
    assert backbone.size_divisibility == 128
    shapes = backbone.output_shape()
    assert list(shapes) == ["stack0", "stack1"]
    assert {(s.channels, s.stride) for s in shapes.values()} == {(256, 4)}


@pytest.mark.parametrize("stacks", [1, 2, 3])
def test_values_are_those_of_the_reference(stacks, randomise):
    backbone = randomise(StackedHourglass(stacks, **NARROW).double()).eval()
    image = torch.randn(2, 3, 64, 95, dtype=torch.float64)
    with torch.no_grad():
        found = backbone(image)
    expected = Reference(backbone.state_dict(), levels=3, stacks=stacks)(image)
    assert len(found) == len(expected) == stacks
    for mine, theirs in zip(found.values(), expected):
        assert mine.shape == (2, 8, 16, 24)
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("norm", ["BN", "SyncBN"])
def test_a_gradient_reaches_every_parameter_with_a_batch_of_one(norm):
    backbone = StackedHourglass(2, norm=norm, **NARROW)
    if norm == "SyncBN":
        backbone.eval()  # on the CPU it only evaluates
    maps = backbone(torch.randn(1, 3, 63, 64))
    maps["stack1"].square().sum().backward()
    assert not [n for n, p in backbone.named_parameters() if p.grad is None]
    assert all(p.grad.isfinite().all() for p in backbone.parameters())


@pytest.mark.parametrize("size", [(65, 64), (64, 60), (32, 48)])
def test_sides_that_do_not_halve_are_refused(size):
    with pytest.raises(ValueError, match=f"multiples of 32.*{size[0]} x {size[1]}"):
        StackedHourglass(1, **NARROW)(torch.randn(1, 3, *size))


@pytest.mark.parametrize(
    "options",
    [
        {"num_stacks": 0},
        {"dims": (8,), "blocks": (1,)},
        {"dims": (8, 8), "blocks": (1, 1, 1)},
        {"dims": (8, 8), "blocks": (1, 0)},
        {"norm": ""},
    ],
)
def test_what_makes_no_network_is_refused(options):
    with pytest.raises(UserError, match=r"MODEL\.HOURGLASS"):
        StackedHourglass(**options)
