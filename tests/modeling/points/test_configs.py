"""The shipped configs of Objects as Points: published networks, schedules, views and pixels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler

from centernet2.engine import build_cfg
from centernet2.modeling.points import ObjectsAsPoints

REPO = Path(__file__).resolve().parents[3]
CONFIGS = REPO / "configs" / "points"
NAMES = sorted(str(p.relative_to(CONFIGS)) for p in CONFIGS.rglob("*.yaml") if "Base" not in p.name)
COCO, PEOPLE = 118_287, 64_115  # images of train2017, and those with people
# Images, batch, first rate, epochs and those after which the rate drops
SCHEDULES = {
    "DLA-34_1x": (COCO, 128, 5e-4, 140, (90, 120)),
    "DLA-34_2x": (COCO, 128, 5e-4, 230, (180, 210)),
    "ResNet-18_1x": (COCO, 114, 5e-4, 140, (90, 120)),
    "ResNet-101_1x": (COCO, 96, 3.75e-4, 140, (90, 120)),
    "Hourglass-104": (COCO, 24, 2.5e-4, 50, (40,)),
    "pose/DLA-34_1x": (PEOPLE, 128, 5e-4, 140, (90, 120)),
    "pose/DLA-34_3x": (PEOPLE, 128, 5e-4, 320, (270, 300)),
    "pose/Hourglass-104_1x": (PEOPLE, 24, 2.5e-4, 50, (40,)),
    "pose/Hourglass-104_3x": (PEOPLE, 24, 2.5e-4, 150, (130,)),
}
# Backbone, its maps, their channels, hidden channels of the heads, and their first weights
NETWORKS = {
    "DLA-34": ("Stride4DLA", ["p2"], 64, 256, "zero_bias"),
    "ResNet-18": ("DeconvResNet", ["p2"], 64, 64, "normal"),
    "ResNet-101": ("DeconvResNet", ["p2"], 64, 64, "normal"),
    "Hourglass-104": ("StackedHourglass", ["stack0", "stack1"], 256, 256, "default"),
    "MobileNetV2-FPN": ("Stride4FPN", ["p2"], 24, 256, "zero_bias"),
    "ResNet-50-FPN": ("Stride4FPN", ["p2"], 64, 256, "zero_bias"),
    "ResNet-101-FPN": ("Stride4FPN", ["p2"], 64, 256, "zero_bias"),
}


def load(name, *overrides):
    return build_cfg(str(CONFIGS / name), list(overrides))


@pytest.mark.parametrize("name", NAMES)
def test_every_config_builds_what_its_name_says(name):
    cfg = load(name, "MODEL.DEVICE", "meta")
    with torch.device("meta"):
        model = build_model(cfg)
    assert type(model) is ObjectsAsPoints
    backbone, maps, channels, hidden, init = NETWORKS[Path(name).stem.partition("_")[0]]
    assert type(model.backbone).__name__ == backbone
    shapes = model.backbone.output_shape()
    assert list(shapes) == maps
    assert {(s.channels, s.stride) for s in shapes.values()} == {(channels, 4)}
    assert model.backbone.size_divisibility == (128 if "Hourglass" in name else 32)
    assert (hidden, init) == (cfg.MODEL.POINTS.HEAD_CHANNELS, cfg.MODEL.POINTS.HEAD_INIT)

    pose = "pose/" in name or "keypoints" in name
    outputs = {n.split(".")[1] for n in model.state_dict() if n.startswith("head.")}
    assert outputs == {"hm", "wh", "reg"} | ({"hps", "hm_hp", "hp_offset"} if pose else set())
    assert cfg.DATASETS.TEST[0].startswith("keypoints_") == pose
    assert model.num_classes == (1 if pose else 80)
    views = (5, True) if "multiscale" in name else (1, name.startswith("pose/"))
    assert (len(model.inference.scales), model.inference.mirror) == views

    assert f"./output/points/{name[:-5]}" == cfg.OUTPUT_DIR
    text = (CONFIGS / name).read_text()
    assert f"configs/points/{name}" in text, "the header's command names another file"
    processes = re.search(r"--num-gpus (\d+)", text)
    assert processes is None or cfg.SOLVER.IMS_PER_BATCH % int(processes[1]) == 0


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_the_published_ones(name):
    cfg = load(f"{name}.yaml")
    images, batch, rate, epochs, drops = SCHEDULES[name]
    epoch = images // batch  # incomplete batches were dropped
    assert batch == cfg.SOLVER.IMS_PER_BATCH == cfg.SOLVER.REFERENCE_IMS_PER_BATCH
    assert epochs * epoch == cfg.SOLVER.MAX_ITER
    assert cfg.SOLVER.OPTIMIZER == "Adam" and not cfg.SOLVER.CLIP_GRADIENTS.ENABLED
    assert cfg.SOLVER.WEIGHT_DECAY == cfg.SOLVER.WEIGHT_DECAY_NORM == 0
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    scheduler = build_lr_scheduler(cfg, optimizer)

    def rate_at(iteration):
        scheduler.last_epoch = iteration
        return scheduler.get_lr()[0]

    expected = rate
    assert rate_at(0) == rate_at(1) == pytest.approx(rate)
    for drop in drops:
        assert rate_at(drop * epoch - 1) == pytest.approx(expected)
        expected /= 10
        assert rate_at(drop * epoch) == pytest.approx(expected)


@pytest.mark.parametrize("name", SCHEDULES)
def test_images_are_prepared_as_published(name):
    cfg = load(f"{name}.yaml")
    assert cfg.INPUT.FORMAT == "BGR"
    mean, std = (np.array(v) / 255 for v in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD))
    np.testing.assert_allclose(mean, [0.40789654, 0.44719302, 0.47026115], rtol=1e-9)
    np.testing.assert_allclose(std, [0.28863828, 0.27408164, 0.27809835], rtol=1e-9)
    assert (cfg.INPUT.CUSTOM_AUG, cfg.INPUT.TRAIN_SIZE) == ("PointsCrop", 512)
    assert (cfg.INPUT.CROP_SCALES, cfg.INPUT.CROP_BORDER) == ((0.6, 1.3, 0.1), 128)
    assert (cfg.INPUT.COLOR_JITTER, cfg.INPUT.LIGHTING) == (0.4, 0.1)
    assert cfg.INPUT.KEEP_CROWDS
    points = cfg.MODEL.POINTS
    assert cfg.INPUT.MIN_SIZE_TEST == points.TEST_FIXED_SIZE == 0, "images must keep their size"
    assert (32 if "pose" in name else 128) == points.MAX_OBJECTS
    assert points.ROUND_RESULTS and points.NMS_KEEPS_STALE and not points.CLIP_BOXES
    assert "pose" in name or not cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS


def test_weights_to_start_from():
    dla = "http://dl.yf.io/dla/models/imagenet/dla34-ba72cf86.pth?matching_heuristics=True"
    assert dla == load("DLA-34_2x.yaml").MODEL.WEIGHTS
    detectors = {load(f"pose/{n}_3x.yaml").MODEL.WEIGHTS for n in ("DLA-34", "Hourglass-104")}
    assert detectors == {
        f"{load(f'{n}.yaml').OUTPUT_DIR[2:]}/model_final.pth"
        for n in ("DLA-34_2x", "Hourglass-104")
    }
    assert load("tfod/MobileNetV2-FPN_512.yaml").MODEL.STRIDE4_FPN.SEPARABLE_CONV
