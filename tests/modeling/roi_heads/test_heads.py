"""Detection scores of the second stage against the plain reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import build_roi_heads
from detectron2.structures import Boxes, Instances

import centernet2  # noqa: F401  (registers the heads)
from centernet2.config import add_centernet_config

from . import reference

NUM_CLASSES = 4


def _cfg(name: str, multiply: bool, sigmoid: bool) -> CfgNode:
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.MODEL.ROI_HEADS.NAME = name
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = NUM_CLASSES
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p3"]
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST = 1.0
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 1
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 8
    cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True
    cfg.MODEL.ROI_BOX_HEAD.MULT_PROPOSAL_SCORE = multiply
    cfg.MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE = sigmoid
    cfg.MODEL.MASK_ON = False
    cfg.TEST.DETECTIONS_PER_IMAGE = 1000
    return cfg


def _proposals(counts: list[int]) -> list[Instances]:
    out = []
    for count in counts:
        instances = Instances((64, 64))
        corner = torch.rand(count, 2) * 30
        instances.proposal_boxes = Boxes(
            torch.cat([corner, corner + 5 + torch.rand(count, 2) * 25], 1)
        )
        instances.objectness_logits = torch.rand(count)
        out.append(instances)
    return out


def _run(cfg: CfgNode, counts: list[int]) -> tuple[Any, list[list[np.ndarray]], list[Instances]]:
    """Detections, the logits that each stage gave to each image, and the proposals."""
    torch.manual_seed(2)
    heads = build_roi_heads(cfg, {"p3": ShapeSpec(channels=3, stride=8)}).eval()
    stages = heads.box_predictor
    stages = list(stages) if isinstance(stages, torch.nn.ModuleList) else [stages]
    seen: list[list[np.ndarray]] = []

    def record(module: torch.nn.Module, inputs: Any, output: tuple[torch.Tensor, ...]) -> None:
        seen.append([s.detach().double().numpy() for s in output[0].split(counts)])

    for stage in stages:
        torch.nn.init.normal_(stage.cls_score.weight, std=3.0)
        stage.register_forward_hook(record)
    proposals = _proposals(counts)
    features = {"p3": torch.randn(len(counts), 3, 8, 8)}
    with torch.no_grad():
        found, _ = heads(None, features, [p[:] for p in proposals])
    return found, seen, proposals


@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("multiply", [False, True])
@pytest.mark.parametrize(("name", "stages"), [("CustomCascadeROIHeads", 3), ("CustomROIHeads", 1)])
def test_scores_are_the_root_of_mean_probability_times_proposal(name, stages, multiply, sigmoid):
    counts = [3, 5]
    found, seen, proposals = _run(_cfg(name, multiply, sigmoid), counts)
    assert len(seen) == stages
    for image, instances in enumerate(found):
        objectness = proposals[image].objectness_logits.double().tolist()
        expected = reference.detection_scores(
            [stage[image] for stage in seen], objectness if multiply else None, sigmoid
        )
        for cls in range(NUM_CLASSES):
            got = np.sort(instances.scores[instances.pred_classes == cls].numpy())
            np.testing.assert_allclose(got, np.sort(expected[:, cls]), rtol=1e-4, atol=1e-7)


def test_score_threshold_is_applied_to_the_root():
    cfg = _cfg("CustomCascadeROIHeads", True, False)
    everything = _run(cfg, [6])[0][0].scores
    threshold = float(everything.median()) + 1e-4
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = threshold
    (found,) = _run(cfg, [6])[0]
    assert len(found) == int((everything > threshold).sum())
    assert (found.scores > threshold).all()


@pytest.mark.parametrize("name", ["CustomCascadeROIHeads", "CustomROIHeads"])
def test_no_proposals(name):
    found, _, _ = _run(_cfg(name, True, False), [0, 2])
    assert len(found[0]) == 0
    assert len(found[1]) == 2 * NUM_CLASSES
