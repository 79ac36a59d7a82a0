"""Narrow networks for the tests of keypoint triplets."""

from __future__ import annotations

import pytest
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from centernet2.config import add_centernet_config

NARROW = [
    "MODEL.DEVICE", "cpu",
    "MODEL.BACKBONE.NAME", "build_hourglass_backbone",
    "MODEL.HOURGLASS.DIMS", [8, 8, 12],
    "MODEL.HOURGLASS.BLOCKS", [1, 1, 2],
    "MODEL.HOURGLASS.STEM_CHANNELS", 4,
    "MODEL.TRIPLETS.POOL_CHANNELS", 4,
    "MODEL.TRIPLETS.NUM_CLASSES", 3,
    "MODEL.PIXEL_MEAN", [104.0, 114.0, 120.0],
    "MODEL.PIXEL_STD", [74.0, 70.0, 71.0],
]  # fmt: skip


@pytest.fixture
def narrow():
    """``narrow(META_ARCHITECTURE, KEY, VALUE, ...)``: a model of a few channels, 16 cells deep."""

    def build(architecture, *overrides):
        cfg = get_cfg()
        add_centernet_config(cfg)
        cfg.merge_from_list(["MODEL.META_ARCHITECTURE", architecture, *NARROW, *overrides])
        return build_model(cfg)

    return build
