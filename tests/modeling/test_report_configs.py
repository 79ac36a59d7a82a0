"""Every detector of the report learns from real images and finds objects in them, made narrow."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from centernet2.data.datasets.coco_format import register_coco_format
from centernet2.data.datasets.lvis_format import register_lvis_format
from centernet2.data.mapper import DetectionMapper
from centernet2.data.views import whole_image_config
from centernet2.engine.test_time_augmentation import build_augmented

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
CHALLENGE = sorted(f"report/challenge/{p.name}" for p in (CONFIGS / "report/challenge").iterdir())
REPORT = [
    "CenterNet-FPN_R50_1x.yaml",
    "CenterNet2_R50_1x.yaml",
    "LVIS_CenterNet2_R50_1x.yaml",
    "LVIS_CenterNet2_R50_Fed_1x.yaml",
    *sorted(f"report/{p.name}" for p in (CONFIGS / "report").glob("*.yaml")),
    *CHALLENGE,
]
NUM_CLASSES = 80  # of the few images of COCO, also where they are labelled in LVIS's way

# Detectron2 has groups and deformable convolutions in bottleneck blocks only, which depth 18 lacks
BOTTLENECKS = (
    "MODEL.RESNETS.DEPTH", 50,
    "MODEL.RESNETS.NUM_GROUPS", 4,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 4,
)  # fmt: skip
NARROW = (
    "MODEL.CENTERNET.NUM_CLASSES", NUM_CLASSES,
    "MODEL.ROI_HEADS.NUM_CLASSES", NUM_CLASSES,
    "MODEL.POINT_HEAD.NUM_CLASSES", NUM_CLASSES,
    "MODEL.POINT_HEAD.FC_DIM", 32,
    "MODEL.ROI_MASK_HEAD.FC_DIM", 32,
    "MODEL.ROI_BOX_HEAD.CAT_FREQ_PATH", "",
    "MODEL.CENTERNET.POST_NMS_TOPK_TRAIN", 100,
    "MODEL.CENTERNET.POST_NMS_TOPK_TEST", 10,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN", 100,
    "MODEL.RPN.POST_NMS_TOPK_TEST", 10,
    "INPUT.MIN_SIZE_TRAIN", (128,),
    "INPUT.MAX_SIZE_TRAIN", 192,
    "INPUT.MIN_SIZE_TEST", 96,
    "INPUT.MAX_SIZE_TEST", 160,
    # An untrained model finds something too
    "MODEL.CENTERNET.INFERENCE_TH", 1e-4,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0,
    "TEST.DETECTIONS_PER_IMAGE", 10,
)  # fmt: skip


@pytest.fixture(scope="module")
def datasets(shared_data: Path) -> Iterator[dict[str, str]]:
    """Names of registered images of COCO, by how they are labelled, "coco" and "lvis"."""
    folder = shared_data / "coco_mini"
    names = {"coco": "report_coco", "lvis": "report_lvis"}
    labels = folder / "annotations"
    register_coco_format(
        names["coco"], str(labels / "instances_train2017.json"), str(folder / "train2017"), None
    )
    register_lvis_format(names["lvis"], str(labels / "lvis_style_train.json"), str(folder))
    yield names
    for name in names.values():
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def narrowed(load_config: Any, config: str, dataset: str) -> Any:
    """The config with few channels, small images and this data set."""
    full = load_config(config, shrink=False)
    tail = full.MODEL.ROI_BOX_HEAD.EQL_NUM_RAREST * NUM_CLASSES // 1203
    blocks = BOTTLENECKS if full.MODEL.RESNETS.DEPTH == 101 else ()
    return load_config(
        config, *NARROW, *blocks,
        "DATASETS.TRAIN", (dataset,),
        "MODEL.ROI_BOX_HEAD.EQL_NUM_RAREST", tail,
    )  # fmt: skip


def expected_losses(config: str, cfg: Any) -> set[str]:
    """The names of the losses of a detector of the report."""
    if "CascadeRCNN" in config:
        first = {"loss_rpn_cls", "loss_rpn_loc"}
    else:
        agnostic = "specific" not in config and "CenterNet-FPN" not in config
        heatmap = "loss_centernet_agn_" if agnostic else "loss_centernet_"
        first = {f"{heatmap}pos", f"{heatmap}neg", "loss_centernet_loc"}
    if "CenterNet-FPN" in config:
        return first
    second = {f"loss_{part}_stage{stage}" for part in ("cls", "box_reg") for stage in range(3)}
    masks = {"loss_mask"} if cfg.MODEL.MASK_ON else set()
    points = {"loss_mask_point"} if cfg.MODEL.ROI_MASK_HEAD.POINT_HEAD_ON else set()
    return first | second | masks | points


def check_step(model: Any, cfg: Any, config: str, records: list[Any]) -> None:
    np.random.seed(0)  # noqa: NPY002  # Detectron2's augmentation draws from it
    mapper = DetectionMapper(cfg, is_train=True)
    model.train()
    with EventStorage(0):
        losses = model([mapper(record) for record in records])
    assert set(losses) == expected_losses(config, cfg)
    values = {name: loss.item() for name, loss in losses.items()}
    assert all(math.isfinite(value) and value > 0 for value in values.values()), values
    sum(losses.values()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert not [name for name, grad in gradients.items() if grad is None]
    assert not [name for name, grad in gradients.items() if not torch.isfinite(grad).all()]
    # Rows of classes that the images lack may be zero, but nothing is throughout, other than the
    # scales of pyramid levels for larger objects than these
    without = [name for name, grad in gradients.items() if not grad.any()]
    scales = [name for name in gradients if ".scales." in name]
    assert set(without) <= set(scales)
    assert not scales or len(without) < len(scales)


def check_inference(model: Any, cfg: Any, record: Any) -> None:
    model.eval()
    with torch.no_grad():
        (result,) = model([DetectionMapper(cfg, is_train=False)(record)])
    found = result["instances"]
    height, width = record["height"], record["width"]
    assert found.image_size == (height, width)
    assert 0 < len(found) <= 10
    boxes = found.pred_boxes.tensor
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
    assert ((found.scores > 0) & (found.scores <= 1)).all()
    assert ((found.pred_classes >= 0) & (found.pred_classes < NUM_CLASSES)).all()
    assert found.has("pred_masks") == cfg.MODEL.MASK_ON
    if cfg.MODEL.MASK_ON:
        assert found.pred_masks.shape == (len(found), height, width)
        assert found.pred_masks.dtype == torch.bool


@pytest.mark.parametrize("config", REPORT)
def test_it_learns_and_detects(config: str, load_config: Any, datasets: dict[str, str]) -> None:
    labelled = "lvis" if "LVIS" in config or config in CHALLENGE else "coco"
    cfg = narrowed(load_config, config, datasets[labelled])
    records = [r for r in DatasetCatalog.get(datasets[labelled]) if len(r["annotations"]) > 3][:2]
    model = build_model(cfg)
    check_step(model, cfg, config, records)
    check_inference(model, cfg, records[0])


def test_the_challenge_model_looks_at_the_views_of_its_tests(
    load_config: Any, datasets: dict[str, str]
) -> None:
    cfg = narrowed(load_config, "report/challenge/9_TestAug.yaml", datasets["lvis"])
    # A tenth of the sizes, but as many
    cfg.TEST.AUG.MIN_SIZES = [size // 10 for size in cfg.TEST.AUG.MIN_SIZES]
    model = build_model(cfg).eval()
    shapes = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape))
    record = DatasetCatalog.get(datasets["lvis"])[0]
    check_inference(build_augmented(cfg, model), whole_image_config(cfg), record)
    assert len({tuple(shape[-2:]) for shape in shapes}) > 1
    # 9 sizes, each also mirrored
    assert sum(shape[0] for shape in shapes) >= 18


@pytest.mark.parametrize("config", REPORT)
def test_it_is_built_at_full_size(config: str, load_config: Any) -> None:
    cfg = load_config(config, "MODEL.DEVICE", "meta", "MODEL.WEIGHTS", "", shrink=False)
    with torch.device("meta"):  # shapes alone: no memory, no time
        model = build_model(cfg)
    parameters = {n: p.shape for n, p in model.named_parameters() if n.endswith(".weight")}
    of_classes = 1203 if "LVIS" in config or config in CHALLENGE else 80
    if "CenterNet-FPN" in config:
        outputs = {"proposal_generator.centernet_head.cls_logits.weight": of_classes}
    else:
        outputs = {
            f"roi_heads.box_predictor.{k}.cls_score.weight": of_classes + 1 for k in range(3)
        }
    assert {name: parameters[name][0] for name in outputs} == outputs
