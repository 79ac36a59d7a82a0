"""Backbones cut down to a few channels."""

from __future__ import annotations

import pytest
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
