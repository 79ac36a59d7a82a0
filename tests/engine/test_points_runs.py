"""Objects as Points through training, evaluation and their messages, on a few real people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from PIL import Image

from centernet2.data.datasets.coco_format import register_coco_format
from centernet2.data.mapper import DetectionMapper
from centernet2.engine import build_cfg
from centernet2.engine.custom_data import prepare_custom_data
from centernet2.engine.diagnostics import out_of_memory_in_test
from centernet2.engine.evaluate import evaluate_checkpoint
from centernet2.engine.test_time_augmentation import build_augmented
from centernet2.engine.trainer import Trainer
from centernet2.engine.training_set import load_training_set
from centernet2.errors import UserError
from centernet2.inference.detector import Detector

POSE = str(
    Path(__file__).resolve().parents[2] / "configs/small/ObjectsAsPoints_MobileNetV2_pose.yaml"
)
TINY = [
    "MODEL.DEVICE", "cpu",
    "MODEL.WEIGHTS", "",
    "MODEL.BACKBONE.NAME", "build_hourglass_backbone",
    "MODEL.HOURGLASS.DIMS", "[8, 8, 12]",
    "MODEL.HOURGLASS.BLOCKS", "[1, 1, 1]",
    "MODEL.HOURGLASS.STEM_CHANNELS", "4",
    "MODEL.POINTS.HEAD_CHANNELS", "8",
    "MODEL.POINTS.CLIP_BOXES", "False",  # untrained sizes may be negative
    "INPUT.TRAIN_SIZE", "128",
    "INPUT.MIN_SIZE_TEST", "96",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "2",
    "SOLVER.STEPS", "()",
    "DATALOADER.NUM_WORKERS", "0",
    "TEST.REPORT", "False",
    "DATASETS.TRAIN", "('three_people',)",
    "DATASETS.TEST", "('three_people',)",
    "MODEL.POINTS.MIRROR_PAIRS", "[[1, 2], [5, 6]]",
]  # fmt: skip


@pytest.fixture
def people(shared_data: Path, tmp_path: Path) -> Iterator[Path]:
    """Three images of COCO: two with people and one with a crowd alone. Gives their folder."""
    folder = shared_data / "coco_mini"
    truth = json.loads((folder / "annotations/person_keypoints_train2017.json").read_text())
    labelled = {a["image_id"] for a in truth["annotations"] if a["num_keypoints"] > 8}
    ids = sorted(labelled)[:3]
    truth["images"] = [image for image in truth["images"] if image["id"] in ids]
    truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] in ids]
    for annotation in truth["annotations"]:
        if annotation["image_id"] == ids[0]:
            annotation.update(iscrowd=1, keypoints=[0] * 51, num_keypoints=0)
            annotation.pop("segmentation", None)
    path = tmp_path / "people.json"
    path.write_text(json.dumps(truth), encoding="utf-8")
    register_coco_format("three_people", str(path), str(folder / "train2017"), ["person"])
    yield folder / "train2017"
    DatasetCatalog.remove("three_people")
    MetadataCatalog.remove("three_people")


def tiny(output: Path, *overrides: str) -> CfgNode:
    return build_cfg(POSE, [*TINY, "OUTPUT_DIR", str(output), *overrides])


@pytest.mark.slow
def test_a_run_trains_is_evaluated_and_gives_a_detector(people, tmp_path):
    trainer = Trainer(tiny(tmp_path))
    trainer.resume_or_load(resume=False)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    results = trainer.train()
    assert set(results) == {"bbox", "keypoints"}
    assert all(0 <= results[task]["AP"] <= 100 for task in results)
    after = list(trainer.model.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, after))

    weights = str(tmp_path / "model_final.pth")
    again = evaluate_checkpoint(tiny(tmp_path / "again", "MODEL.WEIGHTS", weights))
    assert again["keypoints"] == pytest.approx(results["keypoints"], nan_ok=True)

    detector = Detector(tiny(tmp_path), weights, score_thresh=0.0)
    pixels = np.array(Image.open(next(people.iterdir())).convert("RGB"))
    (found,) = detector(pixels)
    assert found.keypoints.shape == (100, 17, 3)
    assert len(found.to_coco()[0]["keypoints"]) == 51
    assert found.plot().size[0] >= pixels.shape[1]


def test_images_of_crowds_alone_are_shown(people, tmp_path):
    assert len(load_training_set(tiny(tmp_path)).records) == 3
    without = tiny(tmp_path, "INPUT.KEEP_CROWDS", "False")
    assert len(load_training_set(without).records) == 2


def test_custom_data_tell_which_joints_a_mirror_exchanges(people, tmp_path):
    """So that the run's config serves where the data are not."""
    data = [MetadataCatalog.get("three_people").json_file, str(people)]
    keys = [f"DATASETS.CUSTOM.{s}_{k}" for s in ("TRAIN", "VAL") for k in ("JSON", "IMAGES")]
    chosen = [v for pair in zip(keys, data * 2) for v in pair]
    names = ["DATASETS.TRAIN", "('custom_train',)", "DATASETS.TEST", "('custom_val',)"]
    cfg = tiny(tmp_path, *chosen, *names, "MODEL.POINTS.MIRROR_PAIRS", "[]")
    cfg.defrost()
    prepare_custom_data(cfg)
    pairs = cfg.MODEL.POINTS.MIRROR_PAIRS
    assert pairs[0] == [1, 2] and len(pairs) == 8
    assert DetectionMapper(cfg, is_train=False).augmentations is not None


def test_views_of_augmentation_are_for_boxes(tmp_path):
    boxes = tiny(tmp_path, "MODEL.KEYPOINT_ON", "False", "MODEL.POINTS.NMS_IOU", "0.4")
    augmented = build_augmented(boxes, build_model(boxes).eval())
    assert augmented.nms_thresh == 0.4
    pose = tiny(tmp_path)
    with pytest.raises(UserError, match=r"does not go with MODEL\.KEYPOINT_ON"):
        build_augmented(pose, build_model(pose))


def test_too_little_memory_names_the_key(tmp_path):
    cfg = tiny(tmp_path, "INPUT.MIN_SIZE_TEST", "0")
    assert "MODEL.POINTS.TEST_SCALES (now [1.0])" in out_of_memory_in_test(cfg)
