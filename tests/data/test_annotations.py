from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from pycocotools import mask as mask_util

from centernet2.data.annotations import transform_annotations
from centernet2.data.augmentation import EfficientDetResizeCropTransform

FLIP_INDICES = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]  # COCO's key points


def transform_lists(height: int, width: int) -> Iterator[tuple[T.TransformList, tuple[int, int]]]:
    """Transforms for an image, and the shape that they lead to."""
    resize = T.ResizeTransform(height, width, 611, 733)
    flip = T.HFlipTransform(733)
    yield T.TransformList([T.NoOpTransform()]), (height, width)
    yield T.TransformList([resize]), (611, 733)
    yield T.TransformList([resize, flip]), (611, 733)
    yield T.TransformList([resize, flip, T.VFlipTransform(611)]), (611, 733)
    crop = EfficientDetResizeCropTransform(height, width, 1.7, 300, 40, 130)
    shape = crop.apply_image(np.zeros((height, width), dtype=np.uint8)).shape
    yield T.TransformList([crop, T.HFlipTransform(shape[1])]), shape
    cut = T.CropTransform(30, 20, width - 100, height - 90)
    after = T.ResizeTransform(height - 90, width - 100, 611, 733)
    yield T.TransformList([cut, after, flip]), (611, 733)


def assert_detectron2s(
    annotations: list[dict[str, Any]], transforms: T.TransformList, shape: tuple[int, int]
) -> np.ndarray:
    given = copy.deepcopy(annotations)
    found, whole = transform_annotations(annotations, transforms, shape, FLIP_INDICES)
    np.testing.assert_equal(annotations, given)
    expected = [
        utils.transform_instance_annotations(
            copy.deepcopy(annotation), transforms, shape, keypoint_hflip_indices=FLIP_INDICES
        )
        for annotation in annotations
    ]
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            np.testing.assert_equal(ours[key], value, err_msg=key)
            assert type(ours[key]) is type(value), key
    return whole


def records(file: Path) -> list[dict[str, Any]]:
    """Images with all their annotations, crowds too, and with numbers that have fractions."""
    content = json.loads(file.read_text())
    images = {image["id"]: {**image, "annotations": []} for image in content["images"]}
    for each in content["annotations"]:
        image = images[each["image_id"]]
        annotation = {
            "bbox": [float(side) for side in each["bbox"]], "bbox_mode": BoxMode.XYWH_ABS,
        }  # fmt: skip
        segmentation = each.get("segmentation")
        if isinstance(segmentation, dict) and isinstance(segmentation["counts"], list):
            segmentation = mask_util.frPyObjects(segmentation, image["height"], image["width"])
        if segmentation:
            annotation["segmentation"] = segmentation
        if "keypoints" in each:
            annotation["keypoints"] = each["keypoints"]
        image["annotations"].append(annotation)
    return list(images.values())


@pytest.mark.parametrize(
    "name",
    [
        "coco_mini/annotations/instances_val2017",
        "coco_mini/annotations/person_keypoints_val2017",
        "coco_mini/annotations/lvis_style_val",
        "bccd/val",
        "penn_fudan/val",
    ],
)
def test_real_annotations_go_where_detectron2_moves_them(shared_data: Path, name: str) -> None:
    loaded = records(shared_data / f"{name}.json")
    number = 0
    for record in loaded[:: max(1, len(loaded) // 7)]:
        for transforms, shape in transform_lists(record["height"], record["width"]):
            assert_detectron2s(record["annotations"], transforms, shape)
            number += len(record["annotations"])
    assert number > 50


def test_real_crowds_are_moved_as_masks(shared_data: Path) -> None:
    loaded = records(shared_data / "coco_mini" / "annotations" / "instances_val2017.json")
    crowds = [
        (record, annotation)
        for record in loaded
        for annotation in record["annotations"]
        if isinstance(annotation["segmentation"], dict)
    ]
    assert crowds
    for record, crowd in crowds[:2]:
        for transforms, shape in transform_lists(record["height"], record["width"]):
            assert_detectron2s([crowd], transforms, shape)


LISTS = list(transform_lists(240, 320))


@pytest.mark.parametrize(("transforms", "shape"), LISTS)
def test_boxes_of_all_kinds(transforms: T.TransformList, shape: tuple[int, int]) -> None:
    kinds = [
        {"bbox": [10.1, 20.2, 31.3, 42.4], "bbox_mode": BoxMode.XYWH_ABS},
        {"bbox": (10.1, 20.2, 31.3, 42.4), "bbox_mode": BoxMode.XYWH_ABS},
        {"bbox": np.array([10.1, 20.2, 31.3, 42.4]), "bbox_mode": BoxMode.XYXY_ABS},
        {"bbox": [-10.1, -20.2, 400.3, 420.4], "bbox_mode": BoxMode.XYXY_ABS},
        {"bbox": [100.0, 100.0, 40.0, 20.0, 30.0], "bbox_mode": BoxMode.XYWHA_ABS},
    ]
    for kind in kinds:
        assert_detectron2s([kind], transforms, shape)
        assert_detectron2s([kind, kind], transforms, shape)
    whole = assert_detectron2s(kinds, transforms, shape)
    assert whole.shape == (5, 4)
    assert whole[3, 2] - whole[3, 0] > shape[1]


@pytest.mark.parametrize(("transforms", "shape"), LISTS)
def test_nothing_to_move(transforms: T.TransformList, shape: tuple[int, int]) -> None:
    found, whole = transform_annotations([], transforms, shape)
    assert found == []
    assert whole.shape == (0, 4)
    box = {"bbox": [1.0, 2.0, 3.0, 4.0], "bbox_mode": BoxMode.XYXY_ABS}
    triangle = [1.0, 2.0, 60.0, 70.0, 30.0, 90.0]
    assert_detectron2s([{**box, "segmentation": []}], transforms, shape)
    assert_detectron2s(
        [{**box, "segmentation": []}, {**box, "segmentation": [triangle, triangle]}, box],
        transforms, shape,
    )  # fmt: skip


@pytest.mark.parametrize(("transforms", "shape"), LISTS)
def test_whole_numbers_are_not_truncated(
    transforms: T.TransformList, shape: tuple[int, int]
) -> None:
    whole = {
        "bbox": [11, 21, 31, 41], "bbox_mode": BoxMode.XYWH_ABS,
        "segmentation": [[11, 21, 42, 21, 42, 62, 11, 62]], "keypoints": [15, 25, 2] * 17,
    }  # fmt: skip
    fractions = {
        **whole,
        "bbox": [11.0, 21.0, 31.0, 41.0],
        "segmentation": [[float(value) for value in whole["segmentation"][0]]],
    }
    found, _ = transform_annotations([whole], transforms, shape, FLIP_INDICES)
    expected, _ = transform_annotations([fractions], transforms, shape, FLIP_INDICES)
    np.testing.assert_equal(found, expected)


def test_arrays_of_the_data_set_are_left_as_they_are() -> None:
    annotation = {
        "bbox": np.array([10.0, 20.0, 30.0, 40.0]),
        "bbox_mode": BoxMode.XYXY_ABS,
        "segmentation": [np.array([10.0, 20.0, 30.0, 20.0, 30.0, 40.0])],
        "keypoints": np.array([15.0, 25.0, 2.0] * 17),
    }
    for transforms, shape in LISTS:
        assert_detectron2s([annotation], transforms, shape)


def test_unknown_segmentations_are_refused_as_detectron2_does() -> None:
    annotation = {
        "bbox": [1.0, 2.0, 3.0, 4.0], "bbox_mode": BoxMode.XYXY_ABS, "segmentation": "a mask",
    }  # fmt: skip
    with pytest.raises(ValueError, match="Cannot transform segmentation of type"):
        transform_annotations([annotation], *LISTS[0])
