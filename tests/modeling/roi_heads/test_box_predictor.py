"""Which loss the box predictor takes, and when it asks for class frequencies."""

from __future__ import annotations

import math

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY
from detectron2.utils.events import EventStorage

from centernet2.modeling.roi_heads import (
    CenterNetCascadeROIHeads,
    CenterNetOutputLayers,
    CenterNetROIHeads,
)

FEDERATED = [
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", True,
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS", True,
    "MODEL.ROI_BOX_HEAD.CAT_FREQ_PATH", "",
    "DATASETS.TRAIN", ("no_such_dataset",),
]  # fmt: skip


def predictor(cfg: CfgNode) -> CenterNetOutputLayers:
    transform = Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0))
    return CenterNetOutputLayers(cfg, ShapeSpec(channels=8), box2box_transform=transform)


def test_published_names_are_the_same_classes():
    assert ROI_HEADS_REGISTRY.get("CustomCascadeROIHeads") is CenterNetCascadeROIHeads
    assert ROI_HEADS_REGISTRY.get("CustomROIHeads") is CenterNetROIHeads


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ([], "softmax"),
        (["USE_SIGMOID_CE"], "sigmoid"),
        (["USE_SIGMOID_CE", "USE_EQL_LOSS"], "eql"),
        (["USE_SIGMOID_CE", "USE_FED_LOSS"], "federated"),
    ],
)
def test_the_keys_choose_the_loss(keys, name, load_config):
    overrides = [v for key in keys for v in (f"MODEL.ROI_BOX_HEAD.{key}", True)]
    layers = predictor(load_config("CenterNet2_R50_1x.yaml", *overrides))
    assert layers.classification_loss == name
    expected = 0.0 if name == "softmax" else -math.log(0.99 / 0.01)
    torch.testing.assert_close(
        layers.cls_score.bias, torch.full_like(layers.cls_score.bias, expected)
    )


def test_two_long_tail_losses_at_once_are_refused(load_config):
    cfg = load_config("CenterNet2_R50_1x.yaml", *FEDERATED, "MODEL.ROI_BOX_HEAD.USE_EQL_LOSS", True)
    with pytest.raises(ValueError, match="USE_FED_LOSS and USE_EQL_LOSS"):
        predictor(cfg)


@pytest.mark.parametrize("model", ["CascadeRCNN", "CenterNet2"])
def test_the_equalization_loss_of_the_report_spares_900_classes(model, load_config):
    layers = predictor(load_config(f"report/LVIS_{model}_R50_EQL_1x.yaml"))
    assert (layers.classification_loss, layers.eql_num_rarest) == ("eql", 900)


def test_federated_keys_and_their_published_spellings_load(load_config):
    cfg = load_config(
        "CenterNet2_R50_1x.yaml",
        *FEDERATED,
        "MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CAT",
        7,
        "MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT",
        0.25,
        "MODEL.ROI_BOX_HEAD.FED_LOSS_PER_IMAGE",
        True,
    )
    layers = predictor(cfg)
    assert (layers.fed_loss_num_classes, layers.fed_loss_freq_power) == (7, 0.25)
    assert layers.fed_loss_per_image


def test_frequencies_are_not_needed_to_build_load_or_evaluate(load_config, make_batch):
    model = build_model(load_config("CenterNet2_R50_1x.yaml", *FEDERATED)).eval()
    assert not any("freq" in name or "count" in name for name in model.state_dict())
    with torch.no_grad():
        model(make_batch([1]))


@pytest.mark.parametrize("heads", ["CenterNetCascadeROIHeads", "CenterNetROIHeads"])
def test_frequencies_are_asked_for_once_at_the_first_loss(heads, load_config, make_batch):
    name, loaded = "frequencies_of_a_model", []
    keys = [*FEDERATED[:-1], (name,), "MODEL.ROI_HEADS.NAME", heads]
    model = build_model(load_config("CenterNet2_R50_1x.yaml", *keys)).train()
    records = [{"annotations": [{"category_id": i}]} for i in range(80)]
    DatasetCatalog.register(name, lambda: loaded.append(1) or records)
    try:
        with EventStorage(0):
            for _ in range(2):
                losses = model(make_batch([2, 3], num_classes=80))
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)
    assert loaded == [1]  # though the cascade has three stages
    assert all(math.isfinite(v.item()) for v in losses.values())
