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
