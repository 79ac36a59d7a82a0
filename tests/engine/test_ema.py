from __future__ import annotations

import pytest
import torch
from torch import nn

from centernet2.engine.ema import ModelEma


def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


def disturb(net: nn.Module) -> None:
    with torch.no_grad():
        for value in net.state_dict().values():
            value.add_(torch.ones_like(value))


def test_average_follows_its_formula() -> None:
    net = model()
    ema = ModelEma(net, decay=0.9)
    expected = {k: v.double() for k, v in net.state_dict().items()}
    for _ in range(5):
        disturb(net)
        ema.update()
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                expected[name] = 0.9 * expected[name] + 0.1 * value.double()
            else:
                expected[name] = value.double()
    for name, value in ema.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_decay_warms_up() -> None:
    ema = ModelEma(model(), decay=0.999, warmup=100)
    assert ema.decay_at(1) == pytest.approx(0.999 * 0.0488, rel=1e-2)
    assert ema.decay_at(100) == pytest.approx(0.999, rel=1e-2)
    assert ema.decay_at(10**6) == pytest.approx(0.999)
    decays = [ema.decay_at(t) for t in range(1, 300)]
    assert decays == sorted(decays)


def test_applied_lends_the_average_and_gives_the_weights_back() -> None:
    net = model()
    ema = ModelEma(net, decay=0.5)
    disturb(net)
    ema.update()
    raw = {k: v.clone() for k, v in net.state_dict().items()}
    average = {k: v.clone() for k, v in ema.state_dict().items()}

    def check() -> None:
        with ema.applied() as lent:
            for name, value in lent.state_dict().items():
                assert torch.equal(value, average[name])
            raise RuntimeError("evaluation failed")

    with pytest.raises(RuntimeError, match="evaluation failed"):
        check()
    for name, value in net.state_dict().items():
        assert torch.equal(value, raw[name])
        assert torch.equal(ema.state_dict()[name], average[name])


def test_tied_weights_survive() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    ema = ModelEma(net, decay=0.5)
    disturb(net)
    before = net[0].weight.clone()
    ema.update()
    with ema.applied():
        assert not torch.equal(net[0].weight, before)
    assert torch.equal(net[0].weight, before)
    assert net[1].weight is net[0].weight


def test_average_is_restored_where_it_fits() -> None:
    net = model()
    ema = ModelEma(net, decay=0.5)
    state = {"0.bias": torch.tensor([7.0, 8.0]), "0.weight": torch.zeros(5)}
    ema.load_state_dict(state, updates=12)
    assert ema.updates == 12
    assert torch.equal(ema.state_dict()["0.bias"], state["0.bias"])
    assert torch.equal(ema.state_dict()["0.weight"], net[0].weight)
