"""Small detectors with random weights, of every kind that can be exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from centernet2.engine.defaults import build_cfg
from centernet2.export.check import check_inputs, embedded_picture
from centernet2.export.file_info import FileInfo, describe_export
from centernet2.export.graph import DetectorGraph
from centernet2.export.writers import convert_to_openvino, write_onnx, write_torchscript
from centernet2.inference.detector import load_predictor
from centernet2.inference.predictor import Predictor
from centernet2.modeling.points.detector import ObjectsAsPoints

COMMON = """
MODEL:
  WEIGHTS: ""
  DEVICE: cpu
  BACKBONE: {NAME: build_p67_resnet_fpn_backbone}
  RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64, OUT_FEATURES: [res3, res4, res5]}
  FPN: {IN_FEATURES: [res3, res4, res5], OUT_CHANNELS: 32}
  PROPOSAL_GENERATOR: {NAME: CenterNet}
INPUT: {MIN_SIZE_TEST: 160, MAX_SIZE_TEST: 224}
DATASETS: {TEST: []}
"""
FIRST = {
    "NUM_CLASSES": 3,
    "NUM_CLS_CONVS": 1,
    "NUM_BOX_CONVS": 1,
    "PRIOR_PROB": 0.3,
    "PRE_NMS_TOPK_TEST": 200,
    "POST_NMS_TOPK_TEST": 12,
}
PROPOSALS = {"WITH_AGN_HM": True, "ONLY_PROPOSAL": True, "INFERENCE_TH": 0.0001}
HEADS = {
    "MODEL.ROI_HEADS.NUM_CLASSES": 3,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.1,
    "MODEL.ROI_HEADS.IN_FEATURES": ["p3", "p4", "p5", "p6", "p7"],
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 16,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
    "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 1,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 16,
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.MASK_ON": True,
}
CASCADE = {
    "MODEL.ROI_HEADS.NAME": "CustomCascadeROIHeads",
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.6],
    "MODEL.ROI_BOX_CASCADE_HEAD.IOUS": [0.6, 0.7, 0.8],
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True,
    "MODEL.ROI_BOX_HEAD.MULT_PROPOSAL_SCORE": True,
}


def _first(**changes: object) -> dict[str, object]:
    return {f"MODEL.CENTERNET.{key}": value for key, value in {**FIRST, **changes}.items()}


ONE_STAGE = {"MODEL.META_ARCHITECTURE": "CenterNetDetector"}
KINDS: dict[str, dict[str, object]] = {
    "one stage": {**ONE_STAGE, **_first()},
    "one stage, RGB, two maps": {
        **ONE_STAGE,
        **_first(WITH_AGN_HM=True, INFERENCE_TH=0.2),
        "INPUT.FORMAT": "RGB",
        "MODEL.PIXEL_STD": [58.0, 57.0, 56.0],
    },
    "one stage, peaks": {**ONE_STAGE, **_first(CENTER_NMS=True)},
    "cascade": {**_first(**PROPOSALS), **HEADS, **CASCADE},
    "cascade, sigmoid, masks of classes": {
        **_first(**PROPOSALS),
        **HEADS,
        **CASCADE,
        "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": True,
        "MODEL.ROI_BOX_HEAD.PRIOR_PROB": 0.3,
        "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": False,
        "MODEL.ROI_BOX_HEAD.MULT_PROPOSAL_SCORE": False,
    },
    "faster, boxes of classes": {
        **_first(**PROPOSALS),
        **HEADS,
        "MODEL.ROI_HEADS.NAME": "CustomROIHeads",
        "MODEL.MASK_ON": False,
    },
    "detectron2's heads": {
        **_first(**PROPOSALS),
        **HEADS,
        "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    },
    "points": {
        "MODEL.META_ARCHITECTURE": "ObjectsAsPoints",
        "MODEL.BACKBONE.NAME": "build_hourglass_backbone",
        "MODEL.HOURGLASS.DIMS": [8, 8, 12],
        "MODEL.HOURGLASS.BLOCKS": [1, 1, 2],
        "MODEL.HOURGLASS.STEM_CHANNELS": 4,
        "MODEL.POINTS.HEAD_CHANNELS": 8,
        "MODEL.POINTS.NUM_CLASSES": 3,
    },
}


def _tell_apart(head: torch.nn.Module) -> None:
    """Objects of several classes, scores and sizes, none without area."""
    for name, std in (("hm", 0.3), ("wh", 0.3), ("reg", 0.1)):
        convolutions = [m for m in getattr(head, name).modules() if isinstance(m, torch.nn.Conv2d)]
        torch.nn.init.normal_(convolutions[-1].weight, std=std)
        if name == "wh":
            torch.nn.init.constant_(convolutions[-1].bias, 6.0)


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Predictor]:
    """Makes a detector of a kind with random weights; further keys as ``{"INPUT.FORMAT": ...}``."""
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "config.yaml").write_text(COMMON)

    def make(
        kind: str, score_thresh: float | None = None, changes: dict[str, object] | None = None
    ) -> Predictor:
        pairs = {**KINDS[kind], **(changes or {})}
        opts = [str(part) for pair in pairs.items() for part in pair]
        torch.manual_seed(3)
        model = build_model(build_cfg(str(folder / "config.yaml"), opts))
        for name, parameter in model.named_parameters():
            # Else all boxes are alike, and all classes: nothing to tell apart
            if any(part in name for part in ("bbox_pred", "cls_score", "predictor.weight")):
                torch.nn.init.normal_(parameter, std=0.3 if "cls_score" in name else 0.05)
            if name.endswith("bbox_pred.bias") and "proposal_generator" in name:
                torch.nn.init.constant_(parameter, 4.0)
        if isinstance(model, ObjectsAsPoints):
            _tell_apart(model.head)
        torch.save({"model": model.state_dict()}, folder / "model.pth")
        return load_predictor(
            folder / "config.yaml", folder / "model.pth", "cpu", score_thresh, opts
        )

    return make


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a detector as a file of a format; ``size`` is that of its images."""

    def write(
        predictor: Predictor,
        kind: str,
        size: tuple[int, int] | None = None,
        paste_masks: bool = False,
    ) -> Path:
        folder = tmp_path_factory.mktemp("files")
        info: FileInfo = describe_export(predictor, size, paste_masks)
        graph = DetectorGraph(
            predictor.model, predictor.cfg.INPUT.FORMAT, predictor.threshold, paste_masks
        )
        pixels = check_inputs([embedded_picture()], info)[0]
        if kind == "torchscript":
            write_torchscript(graph, pixels, info, folder / "model.ts")
            return folder / "model.ts"
        write_onnx(graph, pixels, info, folder / "model.onnx")
        if kind == "openvino":
            convert_to_openvino(folder / "model.onnx", info, folder / "model.xml")
            return folder / "model.xml"
        return folder / "model.onnx"

    return write
