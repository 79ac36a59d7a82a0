"""The optimizer of a config; its gradient clipping survives parameters without a gradient."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_optimizer as build_detectron2_optimizer
from detectron2.solver import get_default_optimizer_params
from torch import nn

from centernet2.errors import UserError

__all__ = ["build_optimizer", "load_optimizer"]

_ADAPTIVE = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """SOLVER.OPTIMIZER on Detectron2's parameter groups; Adam and AdamW with PyTorch's defaults.

    Before each step gradients are clipped as SOLVER.CLIP_GRADIENTS says: CLIP_TYPE is "value" (each
    element), "norm" (each parameter by its norm) or "full_model" (all gradients by their common
    norm).

    Raises:
        UserError: for an unknown OPTIMIZER or CLIP_TYPE.
    """
    optimizer = _build(cfg, model)
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if clip.ENABLED:
        optimizer.register_step_pre_hook(_Clipper(clip.CLIP_TYPE, clip.CLIP_VALUE, clip.NORM_TYPE))
    return optimizer


def load_optimizer(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Restore what ``optimizer.state_dict()`` returned.

    Raises:
        ValueError: if it is of other parameters; PyTorch compares their number alone.
    """
    optimizer.load_state_dict(state)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for name, value in optimizer.state.get(parameter, {}).items():
                shaped = isinstance(value, torch.Tensor) and value.ndim > 0
                if shaped and value.shape != parameter.shape:
                    raise ValueError(
                        f"{name} has the shape {tuple(value.shape)}, its parameter "
                        f"{tuple(parameter.shape)}"
                    )


def _build(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    solver = cfg.SOLVER
    if solver.OPTIMIZER in _ADAPTIVE:
        groups = get_default_optimizer_params(
            model,
            base_lr=solver.BASE_LR,
            weight_decay_norm=solver.WEIGHT_DECAY_NORM,
            bias_lr_factor=solver.BIAS_LR_FACTOR,
            weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        )
        kind = _ADAPTIVE[solver.OPTIMIZER]
        return kind(groups, lr=solver.BASE_LR, weight_decay=solver.WEIGHT_DECAY)
    if solver.OPTIMIZER != "SGD":
        raise UserError(f"SOLVER.OPTIMIZER is '{solver.OPTIMIZER}'; choose SGD, Adam or AdamW.")
    plain = cfg.clone()
    plain.defrost()
    # Its own clipping fails on current torch in a step that leaves a parameter without gradient.
    plain.SOLVER.CLIP_GRADIENTS.ENABLED = False
    optimizer: torch.optim.Optimizer = build_detectron2_optimizer(plain, model)
    return optimizer


class _Clipper:
    def __init__(self, kind: str, limit: float, norm_type: float) -> None:
        if kind not in ("value", "norm", "full_model"):
            raise UserError(
                f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE is '{kind}'; choose value, norm or full_model."
            )
        self._kind = kind
        self._limit = limit
        self._norm_type = norm_type

    def __call__(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        groups = optimizer.param_groups
        parameters = [p for group in groups for p in group["params"] if p.grad is not None]
        if not parameters:
            return
        if self._kind == "value":
            nn.utils.clip_grad_value_(parameters, self._limit)
        elif self._kind == "full_model":
            nn.utils.clip_grad_norm_(parameters, self._limit, self._norm_type)
        else:
            for parameter in parameters:
                nn.utils.clip_grad_norm_(parameter, self._limit, self._norm_type)
