from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.data import detection_utils as utils
from detectron2.structures import Boxes, BoxMode, Instances

from centernet2.data.bitmaps import add_bitmaps

SHAPE = (31, 47)


def objects(number: int) -> Instances:
    instances = Instances(SHAPE)
    instances.gt_boxes = Boxes(torch.tensor([[1.0, 2.0, 30.0, 20.0]] * number))
    instances.gt_classes = torch.arange(number)
    return instances


def detectron2s(segmentations: list[Any]) -> Instances:
    annotations = [
        {
            "bbox": np.array([1.0, 2.0, 30.0, 20.0]),
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": number,
            "segmentation": segmentation,
        }
        for number, segmentation in enumerate(segmentations)
    ]
    instances = utils.annotations_to_instances(annotations, SHAPE, mask_format="bitmask")
    return utils.filter_empty_instances(instances)


def test_masks_and_the_objects_kept_are_detectron2s() -> None:
    generator = np.random.default_rng(0)
    array = generator.integers(0, 2, SHAPE, dtype=np.uint8)
    polygons = [generator.uniform(-5, 50, 2 * corners) for corners in (3, 4, 9)]
    segmentations = [
        polygons[:1],
        array,
        array[:, ::-1],  # as flipping leaves it
        np.asfortranarray(array),
        polygons,
        np.zeros(SHAPE, dtype=np.uint8),
        [],
        [np.array([100.0, 100.0, 120.0, 100.0, 120.0, 120.0])],  # outside
    ]
    for kept in (segmentations, segmentations[:5], segmentations[5:]):
        found, expected = add_bitmaps(objects(len(kept)), kept), detectron2s(kept)
        assert torch.equal(found.gt_classes, expected.gt_classes)
        assert found.gt_masks.tensor.dtype == torch.bool
        assert torch.equal(found.gt_masks.tensor, expected.gt_masks.tensor)
    assert found.gt_masks.tensor.shape == (0, *SHAPE)
