from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from centernet2.engine import build_cfg
from centernet2.engine.optimizer import build_optimizer
from centernet2.errors import UserError


def stepped(kind: str, scale: float = 100.0, enabled: bool = True) -> dict[str, torch.Tensor]:
    """Clipped gradients of two layers after a step that a third layer took no part in."""
    torch.manual_seed(0)
    net = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(2, 2), "unused": nn.Linear(4, 4)})
    cfg = build_cfg(
        overrides=[
            "SOLVER.CLIP_GRADIENTS.ENABLED", str(enabled),
            "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", kind,
            "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "0.5",
        ]
    )  # fmt: skip
    optimizer = build_optimizer(cfg, net)
    (net["b"](net["a"](torch.ones(5, 3))).sum() * scale).backward()
    optimizer.step()
    return {k: p.grad for k, p in net.named_parameters() if p.grad is not None}


def test_value_clipping_with_a_parameter_without_gradient() -> None:
    plain = stepped("value", enabled=False)
    clipped = stepped("value")
    assert set(clipped) == {"a.weight", "a.bias", "b.weight", "b.bias"}
    for name, gradient in clipped.items():
        assert torch.equal(gradient, plain[name].clamp(-0.5, 0.5))


def test_norm_clipping_is_per_parameter() -> None:
    for gradient in stepped("norm").values():
        assert gradient.norm().item() == pytest.approx(0.5, rel=1e-4)


def test_full_model_clipping_shares_one_norm() -> None:
    gradients = torch.cat([g.flatten() for g in stepped("full_model").values()])
    assert gradients.norm().item() == pytest.approx(0.5, rel=1e-4)


def test_no_gradient_at_all() -> None:
    net = nn.Linear(1, 1)
    cfg: Any = build_cfg(overrides=["SOLVER.CLIP_GRADIENTS.ENABLED", "True"])
    before = net.weight.clone()
    build_optimizer(cfg, net).step()
    assert torch.equal(net.weight, before)


def test_unknown_kind() -> None:
    with pytest.raises(UserError, match="'global'; choose value, norm or full_model"):
        stepped("global")


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adaptive_optimizers_step_as_their_formula(name: str) -> None:
    """The first two steps by hand: betas 0.9 and 0.999, eps 1e-8, no decay of the bias."""
    torch.manual_seed(0)
    net = nn.Linear(3, 2).double()
    cfg: Any = build_cfg(
        overrides=[
            "SOLVER.OPTIMIZER", name, "SOLVER.BASE_LR", "0.01",
            "SOLVER.WEIGHT_DECAY", "0.1", "SOLVER.WEIGHT_DECAY_BIAS", "0.0",
        ]
    )  # fmt: skip
    optimizer = build_optimizer(cfg, net)
    expected = {k: p.detach().clone() for k, p in net.named_parameters()}
    moments = {k: (torch.zeros_like(p), torch.zeros_like(p)) for k, p in expected.items()}
    for step in (1, 2):
        optimizer.zero_grad()
        net(torch.full((1, 3), float(step)).double()).square().sum().backward()
        for key, parameter in net.named_parameters():
            assert parameter.grad is not None
            gradient = parameter.grad.clone()
            decay = 0.1 if key == "weight" else 0.0
            if name == "Adam":
                gradient += decay * expected[key]
            else:
                expected[key] *= 1 - 0.01 * decay
            first, second = moments[key]
            first.mul_(0.9).add_(0.1 * gradient)
            second.mul_(0.999).add_(0.001 * gradient**2)
            corrected = (second / (1 - 0.999**step)).sqrt() + 1e-8
            expected[key] -= 0.01 * first / (1 - 0.9**step) / corrected
        optimizer.step()
    for key, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[key], rtol=1e-9, atol=1e-12)


def test_adam_clips_too() -> None:
    net = nn.Linear(2, 2)
    cfg: Any = build_cfg(
        overrides=[
            "SOLVER.OPTIMIZER", "Adam", "SOLVER.CLIP_GRADIENTS.ENABLED", "True",
            "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value", "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "0.5",
        ]
    )  # fmt: skip
    optimizer = build_optimizer(cfg, net)
    (net(torch.ones(1, 2)).sum() * 100).backward()
    optimizer.step()
    assert all(p.grad is not None and p.grad.abs().max() <= 0.5 for p in net.parameters())


def test_unknown_optimizer() -> None:
    cfg: Any = build_cfg(overrides=["SOLVER.OPTIMIZER", "Lion"])
    with pytest.raises(UserError, match="SOLVER.OPTIMIZER is 'Lion'; choose SGD, Adam or AdamW"):
        build_optimizer(cfg, nn.Linear(1, 1))
