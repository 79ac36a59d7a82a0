"""From a record to the training input of Objects as Points: boxes of all objects, and joints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances, Keypoints

from centernet2.data.annotations import transform_annotations
from centernet2.data.mapper import DetectionMapper
from centernet2.data.points_augmentation import PointsCropTransform
from centernet2.errors import UserError
from centernet2.modeling.points.partners import joint_partners

__all__ = ["PointsMapper"]

# What Detectron2 adds to the joints of COCO's files
_HALF_PIXEL = 0.5


class PointsMapper(DetectionMapper):
    """:class:`DetectionMapper` for the first objects of an image, with joints as published.

    ``gt_boxes`` are clipped to the image; where nothing is left of one, it stays, empty, and the
    targets leave it out. The joints of ``gt_keypoints`` are in coordinates of pixels (0 is the
    middle of the first one), and one that a crop leaves out keeps its visibility, as the targets
    tell people with labels from those without. There are no masks.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        keep_crowds: bool = True,
        max_objects: int = 128,
        num_joints: int = 0,
        partners: Sequence[int] = (),
        **options: Any,
    ) -> None:
        """
        Args:
            is_train: whether to keep the annotations.
            keep_crowds: whether crowds are objects like any other.
            max_objects: objects of an image that are learnt, the first ones.
            num_joints: of a person; 0: no pose.
            partners: of each joint the one that it becomes in a mirror.
            options: those of :class:`DetectionMapper`.
        """
        super().__init__(is_train, **options)
        self.keep_crowds, self.max_objects = keep_crowds, max_objects
        self.num_joints, self.partners = num_joints, list(partners)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """The arguments that a config stands for.

        Raises:
            UserError: for a limit of no objects, and if it is unknown what a mirror does to joints.
        """
        boxes_alone = cfg.clone()
        boxes_alone.defrost()
        boxes_alone.MODEL.KEYPOINT_ON = False  # Detectron2 would ask every data set for its joints
        options = super().from_config(boxes_alone, is_train)
        limit = cfg.MODEL.POINTS.MAX_OBJECTS
        if limit < 1:
            raise UserError(f"MODEL.POINTS.MAX_OBJECTS is {limit}; it must be 1 or more.")
        options["keep_crowds"] = cfg.INPUT.KEEP_CROWDS
        options["max_objects"] = limit
        if cfg.MODEL.KEYPOINT_ON:
            options["num_joints"] = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
            options["partners"] = joint_partners(cfg) if cfg.INPUT.RANDOM_FLIP != "none" else ()
        return options

    def _transform_annotations(
        self,
        dataset_dict: dict[str, Any],
        transforms: T.TransformList,
        image_shape: tuple[int, int],
    ) -> None:
        objects = [
            annotation
            for annotation in dataset_dict.pop("annotations")
            if self.keep_crowds or not annotation.get("iscrowd", 0)
        ][: self.max_objects]
        boxes = [{key: a[key] for key in ("bbox", "bbox_mode")} for a in objects]
        moved, _ = transform_annotations(boxes, transforms, image_shape)
        instances = Instances(image_shape)
        instances.gt_boxes = Boxes(np.array([a["bbox"] for a in moved]).reshape(-1, 4))
        instances.gt_classes = torch.tensor([a["category_id"] for a in objects], dtype=torch.int64)
        if self.num_joints:
            joints = self._joints(objects, transforms, dataset_dict["file_name"])
            instances.gt_keypoints = Keypoints(torch.from_numpy(joints))
        dataset_dict["instances"] = instances

    def _joints(
        self, objects: Sequence[dict[str, Any]], transforms: T.TransformList, file_name: str
    ) -> npt.NDArray[np.float32]:
        """``(N, J, 3)`` of x, y and visibility."""
        joints = np.zeros((len(objects), self.num_joints, 3))
        for place, annotation in zip(joints, objects):
            given = annotation.get("keypoints")  # crowds may have none
            if given is None:
                continue
            if len(given) != 3 * self.num_joints:
                raise UserError(
                    f"{file_name}: a person has {len(given) // 3} keypoints, but "
                    f"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS is {self.num_joints}; make them equal."
                )
            place[:] = np.reshape(given, (-1, 3))
        points = joints[:, :, :2].reshape(-1, 2) - _HALF_PIXEL
        joints[:, :, :2] = transforms.apply_coords(points).reshape(-1, self.num_joints, 2)
        if sum(map(_mirrors, transforms.transforms)) % 2:
            joints = joints[:, self.partners]
        return joints.astype(np.float32)


def _mirrors(transform: T.Transform) -> bool:
    if isinstance(transform, PointsCropTransform):
        return transform.mirror
    return isinstance(transform, T.HFlipTransform)
