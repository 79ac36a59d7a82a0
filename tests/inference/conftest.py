"""A tiny detector with random weights, made-up predictions, and real street material."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from PIL import Image

from centernet2.config import add_centernet_config

REPO = Path(__file__).resolve().parents[2]
NAMES = ["person", "bicycle", "traffic light"]
DATASET = "centernet2_test_inference"

TINY = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.PROPOSAL_GENERATOR.NAME": "CenterNet",
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
    "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.OUT_CHANNELS": 64,
    "MODEL.BACKBONE.NAME": "build_p67_resnet_fpn_backbone",
    "MODEL.CENTERNET.NUM_CLASSES": len(NAMES),
    "MODEL.CENTERNET.NUM_CLS_CONVS": 1,
    "MODEL.CENTERNET.NUM_BOX_CONVS": 1,
    "MODEL.ROI_HEADS.NUM_CLASSES": len(NAMES),
    "INPUT.MIN_SIZE_TEST": 128,
    "INPUT.MAX_SIZE_TEST": 256,
    "DATASETS.TEST": [DATASET],
}
ONE_STAGE = {"MODEL.META_ARCHITECTURE": "CenterNetDetector"}
TWO_STAGE = {
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.CENTERNET.WITH_AGN_HM": True,
    "MODEL.CENTERNET.ONLY_PROPOSAL": True,
    "MODEL.CENTERNET.INFERENCE_TH": 0.0001,
    "MODEL.CENTERNET.POST_NMS_TOPK_TEST": 32,
    "MODEL.ROI_HEADS.NAME": "CustomCascadeROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": ["p3", "p4", "p5", "p6", "p7"],
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.6],
    "MODEL.ROI_BOX_CASCADE_HEAD.IOUS": [0.6, 0.7, 0.8],
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True,
    "MODEL.ROI_BOX_HEAD.MULT_PROPOSAL_SCORE": True,
    "MODEL.MASK_ON": True,
    "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 1,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 16,
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 14,
}


def _config(kind: dict[str, object], **changes: object) -> CfgNode:
    MetadataCatalog.get(DATASET).set(
        thing_classes=NAMES, thing_dataset_id_to_contiguous_id={1: 0, 2: 1, 10: 2}
    )
    cfg = get_cfg()
    add_centernet_config(cfg)
    values = {**TINY, **kind, **{k.replace("__", "."): v for k, v in changes.items()}}
    cfg.merge_from_list([part for pair in values.items() for part in pair])
    return cfg


@pytest.fixture(scope="session")
def two_stage_config() -> Callable[..., CfgNode]:
    """Makes the configuration of a tiny two-stage model; changes as ``MODEL__DEVICE="cpu"``."""
    return lambda **changes: _config(TWO_STAGE, **changes)


@pytest.fixture(scope="session")
def one_stage_config() -> Callable[..., CfgNode]:
    """Makes the configuration of a tiny one-stage model; changes as ``MODEL__DEVICE="cpu"``."""
    return lambda **changes: _config(ONE_STAGE, **changes)


@pytest.fixture(scope="session")
def model_file(
    tmp_path_factory: pytest.TempPathFactory, two_stage_config: Callable[..., CfgNode]
) -> Path:
    """Configuration file of a random two-stage model, which names its weights beside it."""
    folder = tmp_path_factory.mktemp("model")
    cfg = two_stage_config()
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict()}, folder / "model.pth")
    cfg.MODEL.WEIGHTS = str(folder / "model.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    return folder / "config.yaml"


@pytest.fixture
def photo(tmp_path: Path) -> Callable[..., Path]:
    """Makes an image file of noise under ``tmp_path``."""

    def make(name: str, size: tuple[int, int] = (48, 32)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return make


@pytest.fixture(scope="session")
def make_instances() -> Callable[..., Instances]:
    """Makes predictions at boxes, of classes 0, 1, 2, 0... and falling scores."""

    def make(size: tuple[int, int], boxes: list[list[float]], masks: bool = False) -> Instances:
        found = Instances(size)
        found.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
        found.pred_classes = torch.arange(len(boxes)) % len(NAMES)
        found.scores = torch.linspace(0.99, 0.5, len(boxes))
        if masks:
            found.pred_masks = torch.zeros((len(boxes), *size), dtype=torch.bool)
            for mask, (x0, y0, x1, y1) in zip(found.pred_masks, boxes):
                mask[int(y0) : int(y1), int(x0) : int(x1)] = True
        return found

    return make
