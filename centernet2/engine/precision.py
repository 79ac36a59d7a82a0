"""Which number formats training and inference compute in."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode

from centernet2.errors import UserError

__all__ = ["amp_dtype", "inference_dtype"]

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def amp_dtype(cfg: CfgNode) -> torch.dtype | None:
    """The autocast dtype that SOLVER.AMP asks for on MODEL.DEVICE; None: full precision.

    Raises:
        UserError: for an unknown name, or float16 on the CPU, whose gradients would underflow.
    """
    if not cfg.SOLVER.AMP.ENABLED:
        return None
    name = cfg.SOLVER.AMP.DTYPE
    device = torch.device(cfg.MODEL.DEVICE)
    if name == "auto":
        has_bfloat16 = device.type != "cuda" or torch.cuda.is_bf16_supported()
        return torch.bfloat16 if has_bfloat16 else torch.float16
    if name not in _DTYPES:
        raise UserError(
            f"SOLVER.AMP.DTYPE is '{name}'; choose auto, {' or '.join(sorted(_DTYPES))}."
        )
    if name == "float16" and device.type == "cpu":
        raise UserError("SOLVER.AMP.DTYPE float16 needs a GPU; on the CPU use bfloat16.")
    return _DTYPES[name]


def inference_dtype(cfg: CfgNode) -> torch.dtype:
    """What TEST.PRECISION names.

    Raises:
        UserError: for an unknown name.
    """
    names = {"float32": torch.float32, **_DTYPES}
    if cfg.TEST.PRECISION not in names:
        raise UserError(
            f"TEST.PRECISION is '{cfg.TEST.PRECISION}'; choose {', '.join(sorted(names))}."
        )
    return names[cfg.TEST.PRECISION]
