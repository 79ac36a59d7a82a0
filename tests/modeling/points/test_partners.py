from __future__ import annotations

import pytest
from detectron2.config import get_cfg

from centernet2.config import add_centernet_config
from centernet2.errors import UserError
from centernet2.modeling.points.partners import joint_partners


def config(*overrides):
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.merge_from_list(["DATASETS.TRAIN", ("keypoints_coco_2017_train",), *overrides])
    return cfg


def test_left_and_right_of_coco():
    expected = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
    assert joint_partners(config()) == expected


def test_pairs_of_the_configuration_come_first():
    pairs = ["MODEL.POINTS.MIRROR_PAIRS", [[0, 2]], "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", 4]
    assert joint_partners(config(*pairs)) == (2, 1, 0, 3)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["DATASETS.TRAIN", ("coco_2017_train",)], "set MODEL.POINTS.MIRROR_PAIRS"),
        (["DATASETS.TRAIN", ()], "set MODEL.POINTS.MIRROR_PAIRS"),
        (["MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", 5], "has 17 keypoints: set it to 17"),
        (["MODEL.POINTS.MIRROR_PAIRS", [[1, 17]]], r"\[1, 17\], which is no pair"),
        (["MODEL.POINTS.MIRROR_PAIRS", [[1, 2, 3]]], "which is no pair"),
    ],
)
def test_mistakes(overrides, message):
    with pytest.raises(UserError, match=message):
        joint_partners(config(*overrides))
