from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from torch import nn

import centernet2.modeling  # noqa: F401  (registers the models)
from centernet2.engine import build_cfg
from centernet2.engine.checks import (
    check_num_classes,
    class_counts,
    num_classes,
    set_num_classes,
)
from centernet2.errors import UserError

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").rglob("*.yaml"))
# No shipped config is of these
MOBILE = [
    "MODEL.META_ARCHITECTURE", "MobileCenterNet",
    "MODEL.BACKBONE.NAME", "build_mobilenetv3_unet_backbone",
]  # fmt: skip
RETINANET = [
    "MODEL.META_ARCHITECTURE", "RetinaNet",
    "MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES", "['res3', 'res4', 'res5']",
    "MODEL.FPN.IN_FEATURES", "['res3', 'res4', 'res5']",
]  # fmt: skip


@pytest.fixture(scope="module")
def configs() -> list[CfgNode]:
    """Every shipped config that names a network, and models that none is for."""
    found = [build_cfg(str(path), []) for path in CONFIGS]
    found = [cfg for cfg in found if cfg.MODEL.BACKBONE.NAME != "build_resnet_backbone"]
    return [*found, build_cfg("", MOBILE), build_cfg("", RETINANET)]


def of_the_model(cfg: CfgNode) -> int:
    """What a built model has as its number of classes: the last part that knows one decides."""
    with torch.device("meta"):
        model = build_model(cfg)
    parts: list[nn.Module] = [model]
    parts += [getattr(model, name, model) for name in ("proposal_generator", "roi_heads")]
    return int([part.num_classes for part in parts if hasattr(part, "num_classes")][-1])


def kind(cfg: CfgNode) -> tuple[Any, ...]:
    """What decides which key is read."""
    model = cfg.MODEL
    second = model.META_ARCHITECTURE == "GeneralizedRCNN" and model.ROI_HEADS.NAME
    return model.META_ARCHITECTURE, model.PROPOSAL_GENERATOR.NAME, second


def test_every_config_has_the_number_of_its_model(configs: list[CfgNode]) -> None:
    built: dict[tuple[Any, ...], int] = {}
    for cfg in map(CfgNode.clone, configs):
        groups = [node for node in cfg.MODEL.values() if isinstance(node, CfgNode)]
        groups = [node for node in groups if "NUM_CLASSES" in node]
        for number, node in enumerate(groups, start=11):
            node.NUM_CLASSES = number
        cfg.MODEL.DEVICE = "meta"
        if kind(cfg) not in built:
            built[kind(cfg)] = of_the_model(cfg)
        assert num_classes(cfg) == built[kind(cfg)], kind(cfg)
        assert num_classes(cfg) in class_counts(cfg).values()
    ours = [name for name, model in META_ARCH_REGISTRY if model.__module__.startswith("centernet2")]
    assert {architecture for architecture, *_ in built} >= {*ours, "GeneralizedRCNN", "RetinaNet"}


def test_all_keys_of_a_model_are_set(configs: list[CfgNode]) -> None:
    for cfg in map(CfgNode.clone, configs):
        set_num_classes(cfg, 7)
        assert set(class_counts(cfg).values()) == {7}
        assert num_classes(cfg) == 7


def test_another_number_than_the_data_has_is_named() -> None:
    MetadataCatalog.get("of_three_classes").thing_classes = ["a", "b", "c"]
    cfg = build_cfg("", MOBILE)
    with pytest.raises(UserError, match=r"set MODEL.MOBILE_CENTERNET.NUM_CLASSES 3"):
        check_num_classes(cfg, "of_three_classes")
    set_num_classes(cfg, 3)
    check_num_classes(cfg, "of_three_classes")
    MetadataCatalog.pop("of_three_classes")
