from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper, MetadataCatalog
from detectron2.data import detection_utils as utils
from detectron2.data.datasets import load_coco_json
from detectron2.data.datasets.builtin_meta import (
    COCO_PERSON_KEYPOINT_FLIP_MAP,
    COCO_PERSON_KEYPOINT_NAMES,
)
from detectron2.structures import BoxMode, Instances, PolygonMasks
from PIL import Image
from pycocotools import mask as mask_util

from centernet2.data.augmentation import build_augmentation
from centernet2.data.mapper import DetectionMapper
from centernet2.engine import build_cfg


def config(*overrides: object) -> Any:
    return build_cfg(overrides=[str(part) for part in overrides])


CROPPED = (
    "INPUT.CUSTOM_AUG", "EfficientDetResizeCrop", "INPUT.TRAIN_SIZE", "50",
    "INPUT.SCALE_RANGE", "(2.0, 2.0)", "INPUT.RANDOM_FLIP", "none",
)  # fmt: skip


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    """An image of 40 x 50 with objects on a grid, as integers, and a crowd box."""
    file = tmp_path / "image.png"
    Image.fromarray(np.zeros((40, 50, 3), dtype=np.uint8)).save(file)
    boxes = [[x, y, 9, 7] for x in range(0, 40, 10) for y in range(0, 40, 10)]
    annotations = [
        {"bbox": box, "bbox_mode": BoxMode.XYWH_ABS, "category_id": i, "iscrowd": 0}
        for i, box in enumerate(boxes)
    ]
    annotations.append({**annotations[0], "iscrowd": 1})
    return {
        "file_name": str(file), "height": 40, "width": 50, "image_id": 1,
        "annotations": annotations,
    }  # fmt: skip


def mapped(cfg: Any, record: dict[str, Any], seed: int = 0) -> Any:
    np.random.seed(seed)  # noqa: NPY002
    return DetectionMapper(cfg, is_train=True)(record)["instances"]


def assert_same_objects(found: Instances, expected: Instances) -> None:
    assert found.image_size == expected.image_size
    assert found.get_fields().keys() == expected.get_fields().keys()
    assert torch.equal(found.gt_boxes.tensor, expected.gt_boxes.tensor)
    assert torch.equal(found.gt_classes, expected.gt_classes)
    for name in found.get_fields().keys() - {"gt_boxes", "gt_classes"}:
        ours, theirs = found.get(name), expected.get(name)
        assert type(ours) is type(theirs)
        if isinstance(ours, PolygonMasks):
            np.testing.assert_equal(ours.polygons, theirs.polygons)
        else:
            assert torch.equal(ours.tensor, theirs.tensor)


SHORTEST_EDGE = ("INPUT.MIN_SIZE_TRAIN", "(320, 352, 384, 400)", "INPUT.MAX_SIZE_TRAIN", "666")
CROPPING = (*SHORTEST_EDGE, "INPUT.CROP.ENABLED", "True")
EFFICIENTDET = ("INPUT.CUSTOM_AUG", "EfficientDetResizeCrop", "INPUT.TRAIN_SIZE", "320")
MASKS = ("MODEL.MASK_ON", "True")
BITMAPS = (*MASKS, "INPUT.MASK_FORMAT", "bitmask")


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("coco_mini/val2017/instances_val2017", (*SHORTEST_EDGE, "MODEL.MASK_ON", "False")),
        ("coco_mini/val2017/instances_val2017", (*SHORTEST_EDGE, *MASKS)),
        ("coco_mini/val2017/instances_val2017", (*SHORTEST_EDGE, *BITMAPS)),
        ("coco_mini/val2017/instances_val2017", (*CROPPING, *MASKS)),
        ("coco_mini/val2017/instances_val2017", (*EFFICIENTDET, *MASKS)),
        (
            "coco_mini/val2017/person_keypoints_val2017",
            (*EFFICIENTDET, "MODEL.KEYPOINT_ON", "True"),
        ),
        ("penn_fudan/images/val", (*SHORTEST_EDGE, *BITMAPS)),
        ("bccd/images/val", EFFICIENTDET),
    ],
)
def test_samples_are_detectron2s_but_for_rounding(
    shared_data: Path, name: str, overrides: tuple[str, ...]
) -> None:
    """Objects are equal, pixels as good as equal, and the random numbers are the same ones."""
    root, images, annotations = name.split("/")
    folder = shared_data / root
    file = next(folder.rglob(f"{annotations}.json"))
    records = load_coco_json(str(file), str(folder / images))
    MetadataCatalog.get("test_people").set(
        keypoint_names=COCO_PERSON_KEYPOINT_NAMES, keypoint_flip_map=COCO_PERSON_KEYPOINT_FLIP_MAP
    )
    cfg = config(*overrides, "DATASETS.TRAIN", ("test_people",))
    options = DatasetMapper.from_config(cfg, is_train=True)
    options["augmentations"] = build_augmentation(cfg, is_train=True)
    ours, theirs = DetectionMapper(cfg, is_train=True), DatasetMapper(**options)
    MetadataCatalog.remove("test_people")
    means, objects = [], 0
    for seed, record in enumerate(records[:: len(records) // 6]):
        given = copy.deepcopy(record)
        np.random.seed(seed)  # noqa: NPY002
        found, after = ours(record), np.random.random()  # noqa: NPY002
        assert record == given
        np.random.seed(seed)  # noqa: NPY002
        expected, expected_after = theirs(record), np.random.random()  # noqa: NPY002
        assert after == expected_after
        assert found.keys() == expected.keys()
        assert_same_objects(found["instances"], expected["instances"])
        assert found["image"].is_contiguous()
        off = (found["image"].int() - expected["image"].int()).abs()
        assert off.max() <= 2
        means.append(off.float().mean().item())
        objects += len(found["instances"])
    assert np.mean(means) < 0.01
    assert objects > 5


def test_test_images_are_detectron2s(shared_data: Path) -> None:
    folder = shared_data / "coco_mini"
    records = load_coco_json(
        str(folder / "annotations" / "instances_val2017.json"), str(folder / "val2017")
    )
    cfg = config("INPUT.MIN_SIZE_TEST", "160")
    for record in records[:5]:
        found = DetectionMapper(cfg, is_train=False)(record)
        expected = DatasetMapper(cfg, is_train=False)(record)
        assert torch.equal(found["image"], expected["image"])
        assert found.keys() == expected.keys()


def test_label_maps_and_proposals_go_detectron2s_way(
    record: dict[str, Any], tmp_path: Path
) -> None:
    Image.fromarray(np.eye(40, 50, dtype=np.uint8)).save(tmp_path / "labels.png")
    record["sem_seg_file_name"] = str(tmp_path / "labels.png")
    record["proposal_boxes"] = np.array([[1.0, 2.0, 30.0, 20.0]])
    record["proposal_objectness_logits"] = np.array([1.0])
    record["proposal_bbox_mode"] = BoxMode.XYXY_ABS
    cfg = config("MODEL.MASK_ON", "False", "MODEL.LOAD_PROPOSALS", "True")
    for annotation in record["annotations"]:
        annotation["bbox"] = [float(side) for side in annotation["bbox"]]
    samples = []
    for mapper in (DetectionMapper(cfg, is_train=True), DatasetMapper(cfg, is_train=True)):
        np.random.seed(0)  # noqa: NPY002
        samples.append(mapper(record))
    assert torch.equal(samples[0]["image"], samples[1]["image"])
    assert torch.equal(samples[0]["sem_seg"], samples[1]["sem_seg"])
    boxes = [sample["proposals"].proposal_boxes.tensor for sample in samples]
    assert torch.equal(*boxes)
    assert_same_objects(samples[0]["instances"], samples[1]["instances"])


def test_an_image_of_another_size_than_recorded_is_refused(record: dict[str, Any]) -> None:
    record["width"] = 49
    with pytest.raises(utils.SizeMismatchError, match="Mismatched image shape"):
        mapped(config("MODEL.MASK_ON", "False"), record)


def patch(image: np.ndarray, box: list[float]) -> np.ndarray:
    x0, y0, x1, y1 = (round(side) for side in box)
    small = cv2.resize(image[y0:y1, x0:x1], (10, 10), interpolation=cv2.INTER_AREA)
    return (small - small.mean()).ravel() / (small.std() + 1e-6)


def test_real_objects_are_where_their_boxes_went(shared_data: Path) -> None:
    folder = shared_data / "bccd"
    records = load_coco_json(str(folder / "val.json"), str(folder / "images"))
    cfg = config(
        "INPUT.CUSTOM_AUG", "EfficientDetResizeCrop", "INPUT.TRAIN_SIZE", "320",
        "INPUT.RANDOM_FLIP", "none", "INPUT.NOT_CLAMP_BOX", "True", "MODEL.MASK_ON", "False",
    )  # fmt: skip
    mapper = DetectionMapper(cfg, is_train=True)
    np.random.seed(0)  # noqa: NPY002
    alike = []
    for record in records[:30]:
        annotations = record["annotations"]
        record["annotations"] = [{**a, "category_id": i} for i, a in enumerate(annotations)]
        sample = mapper(record)
        found = sample["image"].numpy().transpose(1, 2, 0).astype(np.float32)
        height, width = found.shape[:2]
        assert max(height, width) <= 320
        original = cv2.imread(record["file_name"]).astype(np.float32)
        instances = sample["instances"]
        for box, number in zip(instances.gt_boxes.tensor.tolist(), instances.gt_classes.tolist()):
            whole = min(box) >= 0 and box[2] <= width and box[3] <= height
            if whole and min(box[2] - box[0], box[3] - box[1]) > 20:
                before = BoxMode.convert(
                    annotations[number]["bbox"], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS
                )
                alike.append(np.mean(patch(found, box) * patch(original, before)))
    assert len(alike) > 60
    assert np.mean(alike) > 0.97


def test_boxes_are_clipped_and_those_outside_dropped(record: dict[str, Any]) -> None:
    instances = mapped(config(*CROPPED, "MODEL.MASK_ON", "False"), record)
    boxes = instances.gt_boxes.tensor
    height, width = instances.image_size
    assert (height, width) == (50, 50)
    assert 0 < len(boxes) < 16
    assert boxes.min() >= 0
    assert boxes.max() <= 50
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_not_clamping_keeps_the_same_objects_whole(record: dict[str, Any]) -> None:
    cfg = config(*CROPPED, "MODEL.MASK_ON", "False")
    for seed in range(20):
        clipped = mapped(cfg, record, seed)
        cfg.INPUT.NOT_CLAMP_BOX = True
        whole = mapped(cfg, record, seed)
        cfg.INPUT.NOT_CLAMP_BOX = False
        assert torch.equal(whole.gt_classes, clipped.gt_classes)
        sides = whole.gt_boxes.tensor[:, 2:] - whole.gt_boxes.tensor[:, :2]
        torch.testing.assert_close(sides, torch.tensor([18.0, 14.0]).expand_as(sides))
        torch.testing.assert_close(whole.gt_boxes.tensor.clamp(0, 50), clipped.gt_boxes.tensor)
        assert sorted(whole.get_fields()) == sorted(clipped.get_fields())
    assert not torch.equal(whole.gt_boxes.tensor, clipped.gt_boxes.tensor)


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_not_clamping_goes_with_masks(record: dict[str, Any], mask_format: str) -> None:
    for annotation in record["annotations"]:
        x, y, w, h = annotation["bbox"]
        if mask_format == "polygon":
            annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        else:
            mask = np.zeros((40, 50), dtype=np.uint8, order="F")
            mask[y : y + h, x : x + w] = 1
            annotation["segmentation"] = mask_util.encode(mask)
    cfg = config(*CROPPED, "INPUT.MASK_FORMAT", mask_format, "INPUT.NOT_CLAMP_BOX", "True",
                 "MODEL.MASK_ON", "True")  # fmt: skip
    instances = mapped(cfg, record)
    assert len(instances.gt_masks) == len(instances.gt_boxes) > 0
    expected = instances.gt_boxes.tensor
    if mask_format == "bitmask":
        expected = expected.clamp(0, 50)
    torch.testing.assert_close(instances.gt_masks.get_bounding_boxes().tensor, expected)


@pytest.mark.parametrize("not_clamp", [False, True])
def test_image_without_objects(record: dict[str, Any], not_clamp: bool) -> None:
    record["annotations"] = record["annotations"][-1:]  # the crowd
    cfg = config(*CROPPED, "INPUT.NOT_CLAMP_BOX", not_clamp, "MODEL.MASK_ON", "False")
    instances = mapped(cfg, record)
    assert len(instances) == 0
    assert instances.gt_boxes.tensor.shape == (0, 4)
