from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances, Keypoints

from centernet2.config import add_centernet_config
from centernet2.errors import UserError
from centernet2.modeling.points.decode import Found
from centernet2.modeling.points.losses import LossSettings, point_losses
from centernet2.modeling.points.targets import TargetSettings, make_targets

NARROW = [
    "MODEL.DEVICE", "cpu",
    "MODEL.META_ARCHITECTURE", "ObjectsAsPoints",
    "MODEL.BACKBONE.NAME", "build_hourglass_backbone",
    "MODEL.HOURGLASS.DIMS", [8, 8, 12],
    "MODEL.HOURGLASS.BLOCKS", [1, 1, 2],
    "MODEL.HOURGLASS.STEM_CHANNELS", 4,
    "MODEL.POINTS.HEAD_CHANNELS", 8,
    "MODEL.POINTS.NUM_CLASSES", 3,
    "MODEL.PIXEL_MEAN", [104.0, 114.0, 120.0],
    "MODEL.PIXEL_STD", [74.0, 70.0, 71.0],
    "DATASETS.TRAIN", ("keypoints_coco_2017_train",),
]  # fmt: skip


def narrow(*overrides):
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.merge_from_list([*NARROW, *overrides])
    return build_model(cfg)


def image(height: int = 60, width: int = 70) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def truth(count: int, pose: bool, size: tuple = (64, 64)) -> Instances:
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.tensor([[3.0, 4, 40, 50]] * count).view(-1, 4))
    instances.gt_classes = torch.zeros(count, dtype=torch.int64)
    if pose:
        instances.gt_keypoints = Keypoints(torch.full((count, 17, 3), 20.0))
    return instances


@pytest.mark.parametrize("pose", [False, True])
@pytest.mark.parametrize("counts", [(2, 0), (0, 0), (1,)])
def test_losses_reach_every_parameter(pose, counts):
    model = narrow("MODEL.KEYPOINT_ON", pose)
    inputs = [
        {"image": image(64 - 4 * i, 64), "instances": truth(n, pose)} for i, n in enumerate(counts)
    ]
    losses = model.train()(inputs)
    names = {"hm", "wh", "reg"} | ({"hps", "hm_hp", "hp_offset"} if pose else set())
    assert set(losses) == {f"loss_{name}" for name in names}
    sum(losses.values()).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None]
    assert not missing
    if sum(counts) == 0:
        assert losses["loss_wh"] == 0


def test_losses_are_the_mean_over_stacks():
    model, given = narrow().train(), image(64, 64)
    objects = truth(2, False)
    found = model([{"image": given, "instances": objects}])
    features = model.backbone(((given - model.pixel_mean) / model.pixel_std)[None])
    targets = make_targets(
        [objects.gt_boxes.tensor], [objects.gt_classes], (16, 16), 3, TargetSettings()
    )
    stacks = [
        point_losses(model.head(feature, i), targets, LossSettings())
        for i, feature in enumerate(features.values())
    ]
    assert len(stacks) == 2
    for name, loss in found.items():
        expected = sum(losses[name] for losses in stacks) / 2
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_only_the_last_stack_answers_and_images_do_not_matter_to_each_other():
    model = narrow("MODEL.POINTS.ROUND_RESULTS", False).eval()
    inputs = [{"image": image()}, {"image": image(90, 40)}, {"image": image()}]
    together = model(inputs)
    for given, found in zip(inputs, together):
        alone = model([given])[0]["instances"]
        torch.testing.assert_close(alone.scores, found["instances"].scores)
    before = together[0]["instances"].scores
    for branch in (model.head.hm, model.head.wh):
        for parameter in branch[0].parameters():
            parameter.fill_(float("nan"))
    torch.testing.assert_close(model(inputs)[0]["instances"].scores, before)
    assert len(before) == 100


@torch.no_grad()
def test_normalisation_comes_after_the_padding():
    """So black around the image is not grey."""
    model = narrow().eval()
    shown = []
    backbone = model.backbone
    backbone.register_forward_pre_hook(lambda _, args: shown.append(args[0]))
    model([{"image": torch.full((3, 60, 60), 104, dtype=torch.uint8)}])
    (pixels,) = shown
    black = -torch.tensor([104 / 74, 114 / 70, 120 / 71])
    torch.testing.assert_close(pixels[0, :, 0, 0], black)
    assert pixels[0, 0, 32, 32] == 0


def found_of(model, found: Found, size: tuple[int, int], **given) -> Instances:
    return model._instances(found, torch.Size(size), given)


FOUND = Found(
    torch.tensor([[-5.126, 2.004, 20.0, 30.0], [90.0, 5, 95, 6]]),
    torch.tensor([0.567, 0.004]),
    torch.tensor([1, 2]),
    torch.tensor([[[3.333, 4.0, 1.0]], [[0.0, 0.0, 1.0]]]),
)


def test_results_are_rounded_scaled_and_not_clipped_as_published():
    found = found_of(narrow(), FOUND, (40, 80), height=80, width=160)
    assert found.image_size == (80, 160)
    # x, y, width and height have two decimals
    expected = [[-10.25, 4.01, 40.0, 60.0], [180.0, 10.0, 190.0, 12.0]]
    np.testing.assert_allclose(found.pred_boxes.tensor, expected, atol=0.011)
    np.testing.assert_allclose(found.scores, [0.57, 0.0], atol=1e-6)
    # Detectron2's joints are half a pixel further than COCO's
    np.testing.assert_allclose(found.pred_keypoints[0, 0], [6.67 + 0.5, 8.5, 1.0], atol=1e-5)


def test_results_as_detectron2_has_them():
    model = narrow(
        "MODEL.POINTS.ROUND_RESULTS", False, "MODEL.POINTS.CLIP_BOXES", True,
        "MODEL.POINTS.SCORE_THRESH_TEST", 0.003,
    )  # fmt: skip
    found = found_of(model, FOUND, (40, 80))
    # The second lies outside
    np.testing.assert_allclose(found.pred_boxes.tensor, [[0, 2.004, 20, 30]], atol=1e-5)
    np.testing.assert_allclose(found.scores, [0.567], atol=1e-6)
    model = narrow("MODEL.POINTS.SCORE_THRESH_TEST", 0.1)
    assert len(found_of(model, FOUND, (40, 80))) == 1


@torch.no_grad()
def test_flip_scales_and_suppression_with_pose():
    model = narrow("MODEL.KEYPOINT_ON", True, "MODEL.POINTS.TEST_MIRROR", True).eval()
    (found,) = model([{"image": image()}])
    assert found["instances"].pred_keypoints.shape == (100, 17, 3)
    assert model.inference.partners[1] == 2
    model.inference = dataclasses.replace(model.inference, scales=(0.5, 1.0), fixed_size=64)
    (found,) = model([{"image": image()}])
    assert len(found["instances"]) == 200


def test_the_backbone_must_have_stride_4():
    with pytest.raises(UserError, match="needs maps of stride 4 and one width"):
        narrow("MODEL.BACKBONE.NAME", "build_resnet_backbone")
