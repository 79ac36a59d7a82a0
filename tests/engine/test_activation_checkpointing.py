from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import nn

from centernet2.benchmarks.scenes import random_batch
from centernet2.engine import Trainer, build_cfg
from centernet2.engine.activation_checkpointing import checkpoint_activations

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
CPU = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""]
CASES = {
    "MobileNetV2": (CONFIGS / "small/CenterNet2_MobileNetV2_pennfudan.yaml", CPU),
    "ResNet": (
        CONFIGS / "CenterNet-FPN_R50_1x.yaml",
        [*CPU, "MODEL.FPN.OUT_CHANNELS", "32", "MODEL.RESNETS.RES2_OUT_CHANNELS", "32",
         "MODEL.RESNETS.NORM", "BN"],
    ),
    "Hourglass": (CONFIGS / "triplets/small/CenterNet_pennfudan.yaml", CPU),
}  # fmt: skip


def step(model: nn.Module, batch: list[dict[str, Any]]) -> dict[str, Any]:
    torch.manual_seed(1)  # heads draw samples
    with EventStorage():
        losses = model(batch)
    sum(losses.values()).backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {"losses": losses, "grads": grads, "state": model.state_dict()}


@pytest.mark.parametrize("case", CASES)
def test_training_is_the_same(case: str) -> None:
    config, overrides = CASES[case]
    cfg = build_cfg(str(config), overrides)
    torch.manual_seed(0)
    plain = Trainer.build_model(cfg).train()
    thrifty = copy.deepcopy(plain)
    assert checkpoint_activations(thrifty) >= 8
    batch = random_batch(2, (128, 160), 3, num_classes=1, seed=0)
    expected, found = step(plain, batch), step(thrifty, batch)
    for part in ("losses", "grads", "state"):
        assert list(found[part]) == list(expected[part])
        for name, value in expected[part].items():
            torch.testing.assert_close(found[part][name], value, msg=f"{part} {name}")


def test_a_copy_runs_its_own_weights() -> None:
    """The moving average of weights is a copy of the model."""
    block = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))
    model = nn.ModuleList([block])
    assert checkpoint_activations(model) == 1
    copied = copy.deepcopy(model)
    nn.init.zeros_(block[1].weight)
    nn.init.zeros_(block[1].bias)
    x = torch.ones(1, 1, 1, 1)
    assert model[0](x) == 0
    assert copied[0](x) != 0


def test_less_is_kept_for_the_backward_pass() -> None:
    def kept(model: nn.Module) -> int:
        total = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            model(torch.randn(1, 3, 64, 64))
        return total

    def tower() -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 1)
        )

    plain, thrifty = (nn.Sequential(*(tower() for _ in range(4))) for _ in range(2))
    assert checkpoint_activations(thrifty) == 4
    assert kept(thrifty) < kept(plain) / 2


def test_it_is_a_key(caplog: pytest.LogCaptureFixture) -> None:
    config, overrides = CASES["MobileNetV2"]
    asked = [*overrides, "SOLVER.ACTIVATION_CHECKPOINTING", "True"]
    with caplog.at_level("INFO", logger="centernet2"):
        Trainer.build_model(build_cfg(str(config), asked))
    assert "blocks are computed twice" in caplog.text
