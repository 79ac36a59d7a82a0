from __future__ import annotations

import pytest
import torch

from centernet2.errors import UserError
from centernet2.modeling.points.head import PointsHead


def test_parameters_are_named_and_shaped_as_published():
    """Of the published pose model on DLA-34 and the detector on Hourglass-104."""
    outputs = {"hm": 1, "wh": 2, "hps": 34, "reg": 2, "hm_hp": 17, "hp_offset": 2}
    found = {n: tuple(p.shape) for n, p in PointsHead(
        in_channels=64, num_classes=1, num_joints=17, hidden=256
    ).named_parameters()}  # fmt: skip
    expected = {}
    for name, channels in outputs.items():
        expected[f"{name}.0.weight"], expected[f"{name}.0.bias"] = (256, 64, 3, 3), (256,)
        expected[f"{name}.2.weight"], expected[f"{name}.2.bias"] = (
            (channels, 256, 1, 1),
            (channels,),
        )
    assert found == expected

    found = {n: tuple(p.shape) for n, p in PointsHead(
        in_channels=256, num_stacks=2
    ).named_parameters()}  # fmt: skip
    assert found["hm.1.0.conv.weight"] == (256, 256, 3, 3)
    assert found["hm.0.1.weight"] == (80, 256, 1, 1)
    assert found["reg.1.1.bias"] == (2,)
    assert len(found) == 3 * 2 * 4


@pytest.mark.parametrize("init", ["zero_bias", "normal", "default"])
@pytest.mark.parametrize("separable", [False, True])
def test_first_weights(init, separable):
    head = PointsHead(
        in_channels=32, num_classes=3, num_joints=17, hidden=48, init=init, separable=separable
    )
    for name in ("hm", "hm_hp"):
        branch = getattr(head, name)
        assert (branch[-1].bias == -2.19).all()
        assert branch[-1].weight.abs().max() > 0.01
    for name in ("wh", "reg", "hps", "hp_offset"):
        branch = getattr(head, name)
        convolutions = [m for m in branch.modules() if isinstance(m, torch.nn.Conv2d)]
        biases = [c.bias for c in convolutions if c.bias is not None]
        assert len(biases) == 2
        assert all(bool(b.any()) == (init == "default") for b in biases)
        deviation = convolutions[-1].weight.std().item()
        assert (deviation == pytest.approx(0.001, rel=0.4)) == (init == "normal")


def test_maps_of_each_stack_come_from_its_own_branches():
    head = PointsHead(in_channels=8, num_classes=3, num_joints=5, hidden=8, num_stacks=2)
    feature = torch.randn(2, 8, 6, 7)
    first, second = head(feature, 0), head(feature, 1)
    shapes = [tuple(m.shape) for m in first]
    assert shapes == [(2, c, 6, 7) for c in (3, 2, 2, 10, 5, 2)]
    assert all(not torch.equal(a, b) for a, b in zip(first, second))
    assert PointsHead(in_channels=8, hidden=8)(feature).hps is None


def test_an_unknown_start_is_refused():
    with pytest.raises(UserError, match="HEAD_INIT is 'xavier'; choose one of"):
        PointsHead(in_channels=8, init="xavier")
