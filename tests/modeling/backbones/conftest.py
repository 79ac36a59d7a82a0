"""Backbones cut down to a few channels, with random weights that exercise everything."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_backbone

# Four stages of the real depth, a few channels wide
NARROW = [
    "MODEL.RESNETS.DEPTH", 50,
    "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 4,
    "MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4", "res5"],
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, False, True, True],
    "MODEL.RESNETS.DEFORM_MODULATED", True,
]  # fmt: skip


@pytest.fixture
def narrow_backbone(load_config):
    """``narrow_backbone(BACKBONE_NAME, KEY, VALUE, ...)``: built from a config, few channels."""

    def build(name, *overrides):
        cfg = load_config(
            "CenterNet2_R50_1x.yaml", "MODEL.BACKBONE.NAME", name, *NARROW, *overrides
        )
        return build_backbone(cfg)

    return build


@pytest.fixture
def randomise():
    """Fill a model with weights that keep activations moderate and offsets around a pixel."""

    def fill(model):
        generator = torch.Generator().manual_seed(0)
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            if name.endswith("running_var"):
                noise = 0.5 + noise.abs()
            elif value.dim() == 4:
                noise /= value[0].numel() ** 0.5
            elif name.endswith("weight"):
                noise = 1 + 0.1 * noise
            else:
                noise *= 0.2
            value.copy_(noise)
        return model

    return fill
