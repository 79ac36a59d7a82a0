"""From a data set's record to the model's input, with this project's augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import Boxes, BoxMode

from centernet2.data.augmentation import build_augmentation

__all__ = ["DetectionMapper"]


class DetectionMapper(DatasetMapper):
    """Detectron2's mapper with :func:`build_augmentation` and, on demand, whole boxes.

    Example::

        mapper = DetectionMapper(cfg, is_train=True)
        model([mapper(record) for record in DatasetCatalog.get("coco_2017_train")[:2]])
    """

    @configurable
    def __init__(self, is_train: bool, *, clip_boxes: bool = True, **options: Any) -> None:
        """
        Args:
            is_train: whether to keep the annotations.
            clip_boxes: clip boxes to the image. Otherwise an object that a crop cuts through keeps
                its whole box; one that lies outside is dropped either way.
            options: those of Detectron2's ``DatasetMapper``.
        """
        super().__init__(is_train, **options)
        self.clip_boxes = clip_boxes

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """The arguments that a config stands for."""
        options: dict[str, Any] = super().from_config(cfg, is_train)
        options["augmentations"] = build_augmentation(cfg, is_train)
        options["clip_boxes"] = not cfg.INPUT.NOT_CLAMP_BOX
        return options

    def _transform_annotations(
        self, dataset_dict: dict[str, Any], transforms: T.Transform, image_shape: tuple[int, int]
    ) -> None:
        # Boxes recomputed from masks are those of the visible part in any case.
        if self.clip_boxes or self.recompute_boxes:
            super()._transform_annotations(dataset_dict, transforms, image_shape)
            return
        annotations, boxes = [], [np.zeros((0, 4))]
        for annotation in dataset_dict.pop("annotations"):
            if annotation.get("iscrowd", 0):
                continue
            if not self.use_instance_mask:
                annotation.pop("segmentation", None)
            if not self.use_keypoint:
                annotation.pop("keypoints", None)
            box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
            boxes.append(transforms.apply_box(np.array([box], dtype=float)))
            annotations.append(
                utils.transform_instance_annotations(
                    annotation,
                    transforms,
                    image_shape,
                    keypoint_hflip_indices=self.keypoint_hflip_indices,
                )
            )
        instances = utils.annotations_to_instances(
            annotations, image_shape, mask_format=self.instance_mask_format
        )
        # The clipped boxes say which objects are visible; then the whole ones take their place.
        instances.whole_boxes = Boxes(np.concatenate(boxes))
        instances = utils.filter_empty_instances(instances)
        instances.gt_boxes = instances.whole_boxes
        instances.remove("whole_boxes")
        dataset_dict["instances"] = instances
