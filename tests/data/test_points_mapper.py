from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import transforms as T
from detectron2.structures import BoxMode

from centernet2.config import add_centernet_config
from centernet2.data.keypoint_mapper import training_mapper
from centernet2.data.points_augmentation import PointsCropTransform
from centernet2.data.points_mapper import PointsMapper
from centernet2.errors import UserError


@pytest.fixture
def mapper(tmp_path):
    """``mapper(KEY, VALUE, ...)``: with its record of two people and a crowd, all on one image."""

    def build(*overrides):
        cfg = get_cfg()
        add_centernet_config(cfg)
        cfg.merge_from_list(
            ["MODEL.META_ARCHITECTURE", "ObjectsAsPoints", "INPUT.CUSTOM_AUG", "PointsCrop",
             "INPUT.TRAIN_SIZE", 128, "DATASETS.TRAIN", ("keypoints_coco_2017_train",), *overrides]
        )  # fmt: skip
        return training_mapper(cfg)

    return build


@pytest.fixture
def record(tmp_path):
    rng = np.random.default_rng(0)
    path = str(tmp_path / "1.png")
    cv2.imwrite(path, rng.integers(0, 256, (100, 160, 3), dtype=np.uint8))

    def person(x: float, **more):
        joints = np.column_stack([x + np.arange(17.0), 30 + np.arange(17), np.arange(17) % 3])
        joints[:, :2] += 0.5  # as Detectron2 reads COCO's files
        return {
            "bbox": [x, 20, 30, 60], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0,
            "keypoints": joints.ravel().tolist(), "iscrowd": 0, **more,
        }  # fmt: skip

    crowd = {**person(90), "iscrowd": 1}
    del crowd["keypoints"]
    return {
        "file_name": path, "height": 100, "width": 160, "image_id": 1,
        "annotations": [person(10), crowd, person(150)],
    }  # fmt: skip


def test_joints_are_those_of_pixels_mirrored_and_swapped(mapper, record):
    mapper = mapper("MODEL.KEYPOINT_ON", True, "INPUT.KEEP_CROWDS", True)
    assert isinstance(mapper, PointsMapper)
    partners = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    for mirror in (False, True):
        crop = PointsCropTransform((80, 50), 64.0, 128, mirror)
        mapper.augmentations = T.AugmentationList([crop])
        found = mapper(record)["instances"]
        joints = found.gt_keypoints.tensor
        assert joints.shape == (3, 17, 3)
        original = np.column_stack([10 + np.arange(17), 30 + np.arange(17)])
        expected = crop.apply_coords(original)
        visible = np.arange(17) % 3
        if mirror:
            expected, visible = expected[partners], visible[partners]
        np.testing.assert_allclose(joints[0, :, :2], expected, atol=1e-4)
        # All lie outside of the window and are labelled still; the crowd has no labels
        assert joints[0, :, 2].tolist() == visible.tolist()
        assert not joints[1, :, 2].any()


def test_boxes_are_clipped_and_none_left_out(mapper, record):
    mapper = mapper("INPUT.KEEP_CROWDS", True)
    mapper.augmentations = T.AugmentationList([PointsCropTransform((80, 50), 64.0, 128)])
    found = mapper(record)
    boxes = found["instances"].gt_boxes.tensor
    assert boxes.tolist() == [[0, 4, 0, 124], [84, 4, 128, 124], [128, 4, 128, 124]]
    assert found["instances"].gt_classes.dtype == torch.int64
    assert not found["instances"].has("gt_keypoints")
    assert found["image"].shape == (3, 128, 128)


def test_crowds_and_the_limit_of_objects(mapper, record):
    assert len(mapper("INPUT.KEEP_CROWDS", False)(record)["instances"]) == 2
    limited = mapper("INPUT.KEEP_CROWDS", True, "MODEL.POINTS.MAX_OBJECTS", 2)
    assert len(limited(record)["instances"]) == 2
    record["annotations"] = []
    nothing = mapper("MODEL.KEYPOINT_ON", True)(record)["instances"]
    assert len(nothing) == 0 and nothing.gt_keypoints.tensor.shape == (0, 17, 3)
    with pytest.raises(UserError, match="MAX_OBJECTS is 0"):
        mapper("MODEL.POINTS.MAX_OBJECTS", 0)


def test_another_number_of_joints_is_a_mistake(mapper, record):
    record["annotations"][0]["keypoints"] = [1, 2, 2] * 5
    with pytest.raises(UserError, match="has 5 keypoints, but .*NUM_KEYPOINTS is 17"):
        mapper("MODEL.KEYPOINT_ON", True)(record)
