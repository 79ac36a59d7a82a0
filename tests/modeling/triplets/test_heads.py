"""Heads: published names, values against the reference, initial values, gradients."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from centernet2.modeling.triplets.heads import TripletHeads

from . import reference_heads as reference

LISTS = Path(__file__).resolve().parents[2] / "data" / "published_state_dicts" / "triplets"
TRUNK = ("pre.", "kps.", "cnvs.", "cnvs_.", "inters.", "inters_.")
NARROW = {"in_channels": 6, "pool_channels": 4, "num_classes": 3}
VARIANTS = {
    "CenterNet": ({}, reference.cascade_corner_pooling, reference.center_pooling),
    "CornerNet": ({"cascade": False, "centers": False}, reference.corner_pooling, None),
    "CornerNet with cascade": ({"centers": False}, reference.cascade_corner_pooling, None),
    "centres without pooling": (
        {"cascade": False, "center_pooling": False},
        reference.corner_pooling,
        reference.no_pooling,
    ),
}


@pytest.mark.parametrize(
    ("published", "options"),
    [
        ("CenterNet-104", {"num_stacks": 2}),
        ("CenterNet-52", {"num_stacks": 1}),
        ("CornerNet-104", {"num_stacks": 2, "cascade": False, "centers": False}),
    ],
)
def test_names_and_shapes_are_the_published_ones(published, options):
    names = json.loads((LISTS / f"{published}.json").read_text())
    with torch.device("meta"):
        heads = TripletHeads(in_channels=256, **options)
    shapes = {k: list(v.shape) for k, v in heads.state_dict().items()}
    assert shapes == {k: v for k, v in names.items() if not k.startswith(TRUNK)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_values_are_those_of_the_reference(variant, randomise):
    options, corners, centre = VARIANTS[variant]
    heads = randomise(TripletHeads(num_stacks=2, **NARROW, **options).double()).eval()
    feature = torch.randn(2, 6, 9, 11, dtype=torch.float64)
    for stack in (0, 1):
        with torch.no_grad():
            found = heads(feature, stack)._asdict()
        expected = reference.heads(heads.state_dict(), stack, feature, corners, centre)
        assert {name for name, value in found.items() if value is not None} == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_gradient_reaches_every_parameter_of_the_stack_and_no_other(variant):
    heads = TripletHeads(num_stacks=2, **NARROW, **VARIANTS[variant][0])
    maps = heads(torch.randn(1, 6, 8, 8), 1)
    sum(m.square().sum() for m in maps if m is not None).backward()
    for name, parameter in heads.named_parameters():
        assert (parameter.grad is not None) == (name.split(".")[1] == "1"), name


def test_only_the_heatmaps_start_from_a_bias_of_their_own():
    heads = TripletHeads(num_stacks=2, **NARROW)
    for name, parameter in heads.named_parameters():
        if name.endswith(".1.bias"):
            same = bool((parameter == -2.19).all())
            assert same == ("heats" in name), name
