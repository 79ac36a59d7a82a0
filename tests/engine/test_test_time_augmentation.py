from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model

from centernet2.engine import Trainer, build_cfg, evaluate_checkpoint, setup
from centernet2.engine.diagnostics import OutOfMemoryError
from centernet2.engine.test_time_augmentation import build_augmented
from centernet2.errors import UserError

SMALL = (
    "MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64,
    "MODEL.RESNETS.NORM", "BN", "MODEL.BACKBONE.FREEZE_AT", 0,
    "MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES", ["res3", "res4", "res5"], "MODEL.FPN.OUT_CHANNELS", 64,
    "MODEL.BACKBONE.NAME", "build_p67_resnet_fpn_backbone",
    "MODEL.PROPOSAL_GENERATOR.NAME", "CenterNet",
    "MODEL.CENTERNET.NUM_CLASSES", 2, "MODEL.CENTERNET.INFERENCE_TH", 0.0,
    "MODEL.CENTERNET.NUM_CLS_CONVS", 1, "MODEL.CENTERNET.NUM_BOX_CONVS", 1,
    "MODEL.CENTERNET.NMS_TH_TEST", 0.65,
    "MODEL.META_ARCHITECTURE", "CenterNetDetector",
    "TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (48, 64), "TEST.AUG.MAX_SIZE", 96,
    "SOLVER.BASE_LR", 0.001,
)  # fmt: skip


def small(tiny: ModuleType, folder: Path, *overrides: object) -> Any:
    return setup(tiny.arguments(folder, *SMALL, "DATASETS.TEST", ("tiny",), *overrides))


def test_training_ends_with_augmented_results_under_their_own_names(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    cfg = small(tiny, tmp_path, "SOLVER.MAX_ITER", 2, "SOLVER.STEPS", (1,), "TEST.EVAL_PERIOD", 1)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    results = trainer.train()
    assert set(results) == {"bbox", "bbox_TTA"}
    assert set(results["bbox"]) == set(results["bbox_TTA"])
    rows = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    named = {row["iteration"] for row in rows if "bbox_TTA/AP" in row}
    assert named == {1}
    assert {row["iteration"] for row in rows if "bbox/AP" in row} == {0, 1}
    plain = tmp_path / "inference" / "tiny" / "coco_instances_results.json"
    augmented = tmp_path / "TTA" / "inference" / "tiny" / "coco_instances_results.json"
    assert plain.read_bytes() != augmented.read_bytes()


def test_evaluation_reports_both_and_plain_is_unchanged(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = small(tiny, tmp_path)
    torch.manual_seed(0)
    weights = tmp_path / "model.pth"
    torch.save({"model": build_model(cfg).state_dict()}, weights)
    cfg.defrost()
    cfg.MODEL.WEIGHTS = str(weights)
    both = evaluate_checkpoint(cfg)
    assert set(both) == {"bbox", "bbox_TTA"}
    file = tmp_path / "inference" / "tiny" / "coco_instances_results.json"
    found = file.read_bytes()
    cfg.TEST.AUG.ENABLED = False
    assert set(evaluate_checkpoint(cfg)) == {"bbox"}
    assert file.read_bytes() == found
    assert json.loads((tmp_path / "metrics_eval.json").read_text())["results"].keys() == {"bbox"}


def test_views_are_made_of_the_images_as_they_were_read(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = small(tiny, tmp_path, "INPUT.MIN_SIZE_TEST", 24)
    model = Trainer.build_model(cfg)
    shown = []
    forward = model.forward

    def recording(batch: Any) -> Any:
        shown.extend(tuple(x["image"].shape[1:]) for x in batch)
        return forward(batch)

    monkeypatch.setattr(model, "forward", recording)
    handed: list[tuple[int, ...]] = []
    build = Trainer.build_test_loader.__func__

    class Listening(Trainer):
        @classmethod
        def build_test_loader(cls, cfg: Any, name: str) -> Any:
            loader = build(cls, cfg, name)
            handed.extend({tuple(x[0]["image"].shape[1:]) for x in loader})
            return loader

    Listening.test(cfg, model)
    assert {(24, 32), (32, 24)} == set(handed[:2])
    assert {(48, 64), (64, 48)} == set(handed[2:])
    assert set(shown) == {(24, 32), (32, 24), (48, 64), (64, 48), (64, 85), (85, 64)}


def test_own_evaluators_are_for_the_model_as_it_is(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    cfg = small(tiny, tmp_path)
    model = Trainer.build_model(cfg)
    evaluators = [Trainer.build_evaluator(cfg, "tiny")]
    assert set(Trainer.test(cfg, model, evaluators)) == {"bbox"}
    assert set(Trainer.test(cfg, build_augmented(cfg, model), evaluators)) == {"bbox"}


def test_a_model_that_it_does_not_suit_is_refused_before_training(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"not for MODEL.META_ARCHITECTURE TinyDetector"):
        Trainer(setup(tiny.arguments(tmp_path, "TEST.AUG.ENABLED", True)))


@pytest.mark.parametrize("key", ["MODEL.KEYPOINT_ON", "MODEL.LOAD_PROPOSALS"])
def test_keypoints_and_given_proposals_are_refused(key: str) -> None:
    cfg = build_cfg(overrides=["MODEL.DEVICE", "cpu", *map(str, SMALL)])
    model = build_model(cfg)
    cfg.merge_from_list([key, True])
    with pytest.raises(UserError, match=key):
        build_augmented(cfg, model)


@pytest.mark.parametrize(
    ("architecture", "threshold"),
    [("CenterNetDetector", 0.65), ("GeneralizedRCNN", 0.45), ("RetinaNet", 0.35)],
)
def test_keys_reach_the_model(architecture: str, threshold: float) -> None:
    settings = [
        "MODEL.META_ARCHITECTURE", architecture, "MODEL.ROI_HEADS.NMS_THRESH_TEST", 0.45,
        "MODEL.RETINANET.NMS_THRESH_TEST", 0.35, "TEST.DETECTIONS_PER_IMAGE", 7,
        "TEST.AUG.FLIP", False, "TEST.AUG.VIEWS_PER_BATCH", 3,
        "MODEL.ROI_HEADS.IN_FEATURES", ["p3", "p4", "p5"],
        "MODEL.RETINANET.IN_FEATURES", ["p3", "p4", "p5", "p6", "p7"],
        "MODEL.ANCHOR_GENERATOR.SIZES", [[32], [64], [128], [256], [512]],
        "MODEL.CENTERNET.WITH_AGN_HM", architecture == "GeneralizedRCNN",
        "MODEL.CENTERNET.ONLY_PROPOSAL", architecture == "GeneralizedRCNN",
        "MODEL.ROI_HEADS.NAME", "CenterNetROIHeads",
        "MODEL.ROI_BOX_HEAD.NAME", "FastRCNNConvFCHead",
        "MODEL.ROI_BOX_HEAD.NUM_FC", 1, "MODEL.ROI_BOX_HEAD.FC_DIM", 16,
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 7,
    ]  # fmt: skip
    cfg = build_cfg(overrides=["MODEL.DEVICE", "cpu", *map(str, SMALL), *map(str, settings)])
    model = build_model(cfg).eval()
    augmented = build_augmented(cfg, model)
    assert augmented.nms_thresh == threshold
    assert augmented.max_detections == 7
    assert augmented.views_per_batch == 3
    assert not augmented.mirror
    assert len(augmented.resizes) == 2
    (output,) = augmented([{"image": torch.zeros(3, 50, 70, dtype=torch.uint8)}])
    assert output["instances"].image_size == (50, 70)
    assert len(output["instances"]) <= 7
    cfg.TEST.AUG.VIEWS_PER_BATCH = 0
    with pytest.raises(UserError, match="VIEWS_PER_BATCH"):
        build_augmented(cfg, model)


def test_out_of_memory_names_the_keys_of_the_augmentation(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = small(tiny, tmp_path)
    model = Trainer.build_model(cfg)
    forward = model.forward

    def greedy(batch: Any) -> Any:
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(batch)

    monkeypatch.setattr(model, "forward", greedy)
    with pytest.raises(OutOfMemoryError, match=r"VIEWS_PER_BATCH \(now 4\).*MIN_SIZES \(now 64\)"):
        Trainer.test(cfg, model)
