from __future__ import annotations

import pytest
import torch

from centernet2.engine import build_cfg
from centernet2.engine.precision import inference_dtype
from centernet2.errors import UserError


def test_inference_is_in_full_precision_unless_asked() -> None:
    assert inference_dtype(build_cfg()) is torch.float32
    cfg = build_cfg(overrides=["TEST.PRECISION", "bfloat16"])
    assert inference_dtype(cfg) is torch.bfloat16


def test_unknown_precision_is_named() -> None:
    with pytest.raises(UserError, match="TEST.PRECISION is 'int8'; choose bfloat16, float16, flo"):
        inference_dtype(build_cfg(overrides=["TEST.PRECISION", "int8"]))
