"""The values of the report's configs, and that its rows differ in what they are about alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from centernet2.engine import build_cfg

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

ONE_STAGE = ["CenterNet-FPN_R50_1x", "report/LVIS_CenterNet-FPN_R50_1x"]
CASCADE = [f"report/{n}CascadeRCNN_R50_{p}1x" for n in ("", "LVIS_") for p in ("", "P2-P6_")]
CASCADE += [f"report/LVIS_CascadeRCNN_R50_{loss}_1x" for loss in ("Sigmoid", "EQL", "Fed")]
SPECIFIC = ["report/CenterNet2-specific_R50_1x", "report/LVIS_CenterNet2-specific_R50_1x"]
AGNOSTIC = ["CenterNet2_R50_1x", "LVIS_CenterNet2_R50_1x", "LVIS_CenterNet2_R50_Fed_1x"]
AGNOSTIC += [f"report/LVIS_CenterNet2_R50_{loss}_1x" for loss in ("Sigmoid", "EQL")]
SHORT = [*ONE_STAGE, *CASCADE, *SPECIFIC, *AGNOSTIC]
CHALLENGE = [
    "1_CenterNet2_Fed", "2_Mask", "3_2x", "4_FPN_P2-P6", "5_X101", "6_DCN", "7_PointRend",
    "8_960x1600", "9_TestAug",
]  # fmt: skip
# What each step of the challenge model changes
STEPS: dict[str, dict[str, Any]] = {
    "2_Mask": {"MODEL.MASK_ON": True},
    "3_2x": {"SOLVER.MAX_ITER": 180000, "SOLVER.STEPS": (120000, 160000)},
    "4_FPN_P2-P6": {
        "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
        "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL.CENTERNET.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
        "MODEL.CENTERNET.FPN_STRIDES": [4, 8, 16, 32, 64],
        "MODEL.CENTERNET.SOI": [[0, 40], [32, 80], [64, 160], [128, 320], [256, 10000000]],
        "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    },
    "5_X101": {
        "MODEL.WEIGHTS": "detectron2://ImageNetPretrained/FAIR/X-101-32x8d.pkl",
        "MODEL.PIXEL_STD": [57.375, 57.12, 58.395],
        "MODEL.RESNETS.DEPTH": 101,
        "MODEL.RESNETS.NUM_GROUPS": 32,
        "MODEL.RESNETS.WIDTH_PER_GROUP": 8,
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
    },
    "6_DCN": {
        "MODEL.RESNETS.DEFORM_ON_PER_STAGE": [False, True, True, True],
        "MODEL.RESNETS.DEFORM_MODULATED": True,
    },
    "7_PointRend": {
        "MODEL.ROI_MASK_HEAD.NAME": "PointRendMaskHead",
        "MODEL.ROI_MASK_HEAD.POOLER_TYPE": "",
        "MODEL.ROI_MASK_HEAD.POINT_HEAD_ON": True,
        "MODEL.POINT_HEAD.NUM_CLASSES": 1203,
        "MODEL.POINT_HEAD.CLS_AGNOSTIC_MASK": True,
        "INPUT.MASK_FORMAT": "bitmask",
    },
    "8_960x1600": {
        "INPUT.MIN_SIZE_TRAIN": (768, 800, 832, 864, 896, 928, 960),
        "INPUT.MAX_SIZE_TRAIN": 1600,
        "INPUT.MIN_SIZE_TEST": 960,
        "INPUT.MAX_SIZE_TEST": 1600,
    },
    "9_TestAug": {"TEST.AUG.ENABLED": True},
}
LOSSES: dict[str, dict[str, Any]] = {
    "Sigmoid": {"USE_SIGMOID_CE": True},
    "EQL": {"USE_SIGMOID_CE": True, "USE_EQL_LOSS": True, "EQL_NUM_RAREST": 900},
    "Fed": {"USE_SIGMOID_CE": True, "USE_FED_LOSS": True},
}


def load(name: str) -> Any:
    return build_cfg(str(CONFIGS / f"{name}.yaml"))


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if hasattr(value, "items"):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def changes(before: str, after: str) -> dict[str, Any]:
    """The keys that differ, with the second config's values; OUTPUT_DIR aside."""
    old = dict(leaves(load(before)))
    new = dict(leaves(load(after)))
    return {k: v for k, v in new.items() if v != old[k] and k != "OUTPUT_DIR"}


def check(name: str, expected: dict[str, Any]) -> None:
    found = dict(leaves(load(name)))
    assert {key: found[key] for key in expected} == expected


def base(name: str) -> str:
    path = CONFIGS / f"{name}.yaml"
    named = yaml.safe_load(path.read_text(encoding="utf-8"))["_BASE_"]
    found = (path.parent / named).resolve()
    return str(found.relative_to(CONFIGS).with_suffix(""))


def test_no_config_of_the_report_is_left_out() -> None:
    found = {str(p.relative_to(CONFIGS).with_suffix("")) for p in CONFIGS.glob("report/**/*.yaml")}
    named = {*SHORT, *(f"report/challenge/{name}" for name in CHALLENGE)}
    assert found == {name for name in named if name.startswith("report/")}


@pytest.mark.parametrize("name", SHORT)
def test_the_short_recipe(name: str) -> None:
    check(
        name,
        {
            "SOLVER.MAX_ITER": 90000,
            "SOLVER.STEPS": (60000, 80000),
            "SOLVER.GAMMA": 0.1,
            "SOLVER.IMS_PER_BATCH": 16,
            "SOLVER.REFERENCE_IMS_PER_BATCH": 16,
            "SOLVER.BASE_LR": 0.01 if name in ONE_STAGE else 0.02,
            "SOLVER.WARMUP_ITERS": 4000,
            "SOLVER.WARMUP_FACTOR": 0.00025,
            "SOLVER.CLIP_GRADIENTS.ENABLED": True,
            "INPUT.MIN_SIZE_TRAIN": (640, 672, 704, 736, 768, 800),
            "INPUT.MIN_SIZE_TRAIN_SAMPLING": "choice",
            "INPUT.MAX_SIZE_TRAIN": 1333,
            "INPUT.MIN_SIZE_TEST": 800,
            "INPUT.MAX_SIZE_TEST": 1333,
            "INPUT.RANDOM_FLIP": "horizontal",
            "MODEL.RESNETS.DEPTH": 50,
            "MODEL.MASK_ON": False,
            "TEST.AUG.ENABLED": False,
        },
    )


@pytest.mark.parametrize("name", [*SHORT, *(f"report/challenge/{name}" for name in CHALLENGE)])
def test_the_data_set(name: str) -> None:
    lvis = "LVIS" in name or "challenge" in name
    check(
        name,
        {
            "DATASETS.TRAIN": ("lvis_v1_train",) if lvis else ("coco_2017_train",),
            "DATASETS.TEST": ("lvis_v1_val",) if lvis else ("coco_2017_val",),
            "DATALOADER.REPEAT_THRESHOLD": 0.001 if lvis else 0.0,
            "DATALOADER.SAMPLER_TRAIN": (
                "RepeatFactorTrainingSampler" if lvis else "TrainingSampler"
            ),
            "TEST.DETECTIONS_PER_IMAGE": 300 if lvis else 100,
            "OUTPUT_DIR": f"./output/{name}",
        },
    )
    classes = 1203 if lvis else 80
    if name in ONE_STAGE:
        limits = {
            "MODEL.CENTERNET.NUM_CLASSES": classes,
            "MODEL.CENTERNET.POST_NMS_TOPK_TEST": 300 if lvis else 100,
            "MODEL.CENTERNET.INFERENCE_TH": 0.02 if lvis else 0.05,
        }
    else:
        limits = {
            "MODEL.ROI_HEADS.NUM_CLASSES": classes,
            "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.02 if lvis else 0.05,
            # The report says 0.7 of CenterNet2
            "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.5 if lvis or name in CASCADE else 0.7,
        }
    if name in SPECIFIC:
        limits["MODEL.CENTERNET.NUM_CLASSES"] = classes
    check(name, limits)


@pytest.mark.parametrize("name", [*SPECIFIC, *AGNOSTIC, "report/challenge/9_TestAug"])
def test_the_two_stages_of_centernet2(name: str) -> None:
    specific = name in SPECIFIC
    check(
        name,
        {
            "MODEL.CENTERNET.POS_WEIGHT": 0.5,
            "MODEL.CENTERNET.NEG_WEIGHT": 0.5,
            "MODEL.CENTERNET.REG_WEIGHT": 1.0,
            "MODEL.CENTERNET.NMS_TH_TRAIN": 0.9,
            "MODEL.CENTERNET.NMS_TH_TEST": 0.9,
            "MODEL.CENTERNET.POST_NMS_TOPK_TEST": 256,
            "MODEL.CENTERNET.AS_PROPOSAL": specific,
            "MODEL.CENTERNET.ONLY_PROPOSAL": not specific,
            "MODEL.CENTERNET.WITH_AGN_HM": not specific,
            "MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.6],
            "MODEL.ROI_BOX_CASCADE_HEAD.IOUS": (0.6, 0.7, 0.8),
            "MODEL.ROI_BOX_HEAD.MULT_PROPOSAL_SCORE": True,
        },
    )


@pytest.mark.parametrize("name", CASCADE)
def test_the_baseline(name: str) -> None:
    original = "P2-P6" in name
    check(
        name,
        {
            "MODEL.PROPOSAL_GENERATOR.NAME": "RPN",
            "MODEL.RPN.IN_FEATURES": [f"p{k + 2 if original else k + 3}" for k in range(5)],
            "MODEL.RPN.POST_NMS_TOPK_TRAIN": 1000,
            "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
            "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
            "MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.5],
            "MODEL.ROI_BOX_CASCADE_HEAD.IOUS": (0.5, 0.6, 0.7),
            "MODEL.ROI_BOX_HEAD.MULT_PROPOSAL_SCORE": False,
        },
    )
    scales = 1 if original else 3
    for level, sizes in enumerate(load(name).MODEL.ANCHOR_GENERATOR.SIZES):
        expected = [2 ** (5 + level + k / 3) for k in range(scales)]
        assert sizes == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("folder_and_detector", ["CenterNet2", "report/CascadeRCNN"])
def test_the_losses_of_table_2_differ_in_the_loss_alone(
    folder_and_detector: str, loss: str
) -> None:
    folder, _, detector = folder_and_detector.rpartition("/")
    stem = f"LVIS_{detector}_R50"
    softmax = f"{folder}/{stem}_1x" if folder else f"{stem}_1x"
    (name,) = [n for n in SHORT if n.endswith(f"{stem}_{loss}_1x")]
    expected = {f"MODEL.ROI_BOX_HEAD.{key}": value for key, value in LOSSES[loss].items()}
    assert base(name) == softmax
    assert changes(softmax, name) == expected
    head = load(name).MODEL.ROI_BOX_HEAD
    assert (head.FED_LOSS_NUM_CLASSES, head.FED_LOSS_FREQ_WEIGHT_POWER) == (50, 0.5)


def test_the_challenge_model_begins_as_table_2_ends() -> None:
    name = "report/challenge/1_CenterNet2_Fed"
    assert base(name) == "LVIS_CenterNet2_R50_Fed_1x"
    assert changes(base(name), name) == {}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_the_challenge_model_changes_what_it_names_alone(name: str) -> None:
    before = CHALLENGE[CHALLENGE.index(name) - 1]
    assert base(f"report/challenge/{name}") == f"report/challenge/{before}"
    assert changes(f"report/challenge/{before}", f"report/challenge/{name}") == STEPS[name]


def test_the_augmentation_of_the_challenge_models_tests() -> None:
    aug = load("report/challenge/9_TestAug").TEST.AUG
    assert tuple(aug.MIN_SIZES) == (400, 500, 600, 700, 800, 900, 1000, 1100, 1200)
    assert (aug.MAX_SIZE, aug.FLIP) == (4000, True)


def test_pointrend_is_as_in_its_own_configs() -> None:
    model = load("report/challenge/7_PointRend").MODEL
    mask, point = model.ROI_MASK_HEAD, model.POINT_HEAD
    assert (list(mask.IN_FEATURES), mask.FC_DIM, mask.NUM_FC) == (["p2"], 1024, 2)
    assert mask.OUTPUT_SIDE_RESOLUTION == 7
    assert (list(point.IN_FEATURES), point.FC_DIM, point.NUM_FC) == (["p2"], 256, 3)
