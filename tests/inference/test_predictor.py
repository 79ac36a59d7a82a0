from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data.datasets import load_coco_json
from detectron2.engine import DefaultPredictor
from detectron2.structures import pairwise_iou

from centernet2.engine.defaults import build_cfg
from centernet2.errors import UserError
from centernet2.inference.inputs import read_image
from centernet2.inference.predictor import Predictor, set_score_threshold
from centernet2.inference.samples import ground_truth
from centernet2.inference.zoo import DEFAULT_MODEL, shipped_model

Config = Callable[..., CfgNode]


def noise(*size: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_detections_are_those_of_detectron2s_predictor(model_file: Path, order: str) -> None:
    cfg = build_cfg(
        str(model_file), ["INPUT.FORMAT", order, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0"]
    )
    image = noise(90, 120)
    (found,) = Predictor(cfg)([image])
    expected = DefaultPredictor(cfg)(image)["instances"]
    assert len(found) == len(expected) > 0
    assert found.image_size == (90, 120)
    best = expected.scores.argsort(descending=True)
    torch.testing.assert_close(found.scores, expected.scores[best])
    torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor[best])
    assert found.pred_masks.shape == (len(found), 90, 120)


def test_batch_gives_what_single_images_give(model_file: Path) -> None:
    predictor = Predictor(build_cfg(str(model_file)), threshold=0.0)
    images = [noise(64, 64), noise(64, 64)[::-1]]
    together = predictor(images)
    for image, found in zip(images, together):
        (alone,) = predictor([image])
        torch.testing.assert_close(found.scores, alone.scores, rtol=1e-4, atol=1e-5)
    assert predictor([]) == []


def test_images_of_different_sizes_go_together(model_file: Path) -> None:
    predictor = Predictor(build_cfg(str(model_file)), threshold=0.0)
    found = predictor([noise(40, 90), noise(200, 31)])
    assert [f.image_size for f in found] == [(40, 90), (200, 31)]


def test_detections_do_not_depend_on_the_images_beside(model_file: Path) -> None:
    predictor = Predictor(build_cfg(str(model_file)), threshold=0.0)
    images = [noise(40, 90), noise(200, 31), noise(41, 90), noise(64, 64), noise(200, 31)[::-1]]
    together = predictor(images)
    for image, found in zip(images, together):
        (alone,) = predictor([image])
        assert found.image_size == alone.image_size == image.shape[:2]
        torch.testing.assert_close(found.scores, alone.scores, rtol=1e-4, atol=1e-5)
        best = found.pred_boxes.tensor[:3]
        torch.testing.assert_close(best, alone.pred_boxes.tensor[:3], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.55])
def test_threshold_works_for_one_stage_models(
    one_stage_config: Config, threshold: float, agnostic: bool
) -> None:
    cfg = one_stage_config(MODEL__CENTERNET__WITH_AGN_HM=agnostic, MODEL__CENTERNET__PRIOR_PROB=0.4)
    cfg.MODEL.CENTERNET.INFERENCE_TH = 0.0
    torch.manual_seed(0)
    everything = Predictor(cfg)
    torch.manual_seed(0)
    selective = Predictor(cfg, threshold)
    selective.model.load_state_dict(everything.model.state_dict())
    (all_found,), (found,) = everything([noise(80, 80)]), selective([noise(80, 80)])
    assert (found.scores >= threshold).all()
    wanted = all_found.scores[all_found.scores >= threshold]
    torch.testing.assert_close(found.scores, wanted)
    if threshold == 0.3:
        assert len(found) > 0


def test_threshold_leaves_proposals_alone(two_stage_config: Config) -> None:
    cfg = two_stage_config()
    set_score_threshold(cfg, 0.7)
    assert cfg.MODEL.CENTERNET.INFERENCE_TH == 0.0001
    assert cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST == 0.7
    assert cfg.MODEL.RETINANET.SCORE_THRESH_TEST == 0.7


def test_threshold_selects_and_configuration_stays(model_file: Path) -> None:
    cfg = build_cfg(str(model_file))
    cfg.freeze()
    before = cfg.dump()
    (found,) = Predictor(cfg, threshold=0.0)([noise(64, 64)])
    middle = float(found.scores.median())
    (fewer,) = Predictor(cfg, threshold=middle)([noise(64, 64)])
    assert 0 < len(fewer) < len(found)
    assert (fewer.scores >= middle).all()
    assert (fewer.scores.diff() <= 0).all()
    assert cfg.dump() == before


def test_absent_gpu_becomes_the_cpu(
    two_stage_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    predictor = Predictor(two_stage_config(MODEL__DEVICE="cuda"))
    assert predictor.device == torch.device("cpu")
    assert len(predictor([noise(32, 32)])) == 1


def test_names_and_categories_come_from_the_data_set(two_stage_config: Config) -> None:
    predictor = Predictor(two_stage_config())
    assert predictor.class_names == ["person", "bicycle", "traffic light"]
    assert predictor.category_ids == [1, 2, 10]


def test_names_of_another_number_of_classes_are_not_used(two_stage_config: Config) -> None:
    predictor = Predictor(two_stage_config(MODEL__ROI_HEADS__NUM_CLASSES=2))
    assert predictor.class_names == ["class 0", "class 1"]


def test_augmentation_looks_at_the_configured_sizes_of_the_image(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ["TEST.AUG.ENABLED", "True", "TEST.AUG.MIN_SIZES", "(40, 90)"]
    predictor = Predictor(build_cfg(str(model_file), changes), threshold=0.0)
    model, shown = predictor.model.model, []
    inference = model.inference

    def recording(batch: list[dict[str, torch.Tensor]], *args: object, **options: bool) -> object:
        shown.extend(x["image"] for x in batch)
        return inference(batch, *args, **options)

    monkeypatch.setattr(model, "inference", recording)
    image = noise(90, 120)
    (found,) = predictor([image])
    assert found.image_size == (90, 120)
    assert found.pred_masks.shape == (len(found), 90, 120)
    assert (found.scores.diff() <= 0).all()
    sizes = [tuple(view.shape[1:]) for view in shown]
    assert sorted(sizes) == [(40, 53)] * 4 + [(90, 120)] * 4  # flipped too; boxes, then masks
    assert any(np.array_equal(view.permute(1, 2, 0).numpy(), image) for view in shown)


@pytest.mark.slow
def test_augmentation_finds_the_people_of_real_photos_as_plain_inference_does(
    shared_data: Path,
) -> None:
    folder = shared_data / "penn_fudan"
    records = load_coco_json(str(folder / "val.json"), str(folder / "images"))[:6]
    images = [read_image(Path(record["file_name"])) for record in records]
    truths = [ground_truth(r, image.shape[:2]) for r, image in zip(records, images)]
    config, weights = shipped_model(DEFAULT_MODEL)
    boxes, masks = [], []
    for enabled in ("False", "True"):
        changes = ["MODEL.WEIGHTS", str(weights), "TEST.AUG.ENABLED", enabled]
        changes += ["TEST.AUG.MIN_SIZES", "(352, 448)", "TEST.AUG.MAX_SIZE", "768"]
        results = Predictor(build_cfg(str(config), changes), threshold=0.5)(images)
        box_overlap, mask_overlap = [], []
        for truth, found in zip(truths, results):
            best, place = pairwise_iou(truth.pred_boxes, found.pred_boxes).max(dim=1)
            given = found.pred_masks[place]
            both, either = given & truth.pred_masks, given | truth.pred_masks
            box_overlap.append(best)
            mask_overlap.append(both.sum(dim=(1, 2)) / either.sum(dim=(1, 2)))
        boxes.append(torch.cat(box_overlap))
        masks.append(torch.cat(mask_overlap))
    plain, augmented = (overlap > 0.5 for overlap in boxes)
    assert torch.equal(plain, augmented)
    assert plain.float().mean() >= 0.85
    # an image mirrored but not mirrored back would share little with the person
    assert (masks[1][plain] >= masks[0][plain] - 0.1).all()


def test_model_that_finds_no_objects_is_named(two_stage_config: Config) -> None:
    cfg = two_stage_config(
        MODEL__META_ARCHITECTURE="ProposalNetwork",
        DATASETS__TEST=[],
    )
    with pytest.raises(UserError, match="ProposalNetwork returns no instances"):
        Predictor(cfg)([noise(32, 32)])
