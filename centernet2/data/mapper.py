"""From a data set's record to the model's input, with this project's augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import Boxes

from centernet2.data.annotations import transform_annotations
from centernet2.data.augmentation import build_augmentation
from centernet2.data.bitmaps import add_bitmaps
from centernet2.data.fast_input import FastAugInput
from centernet2.data.image_reading import read_image

__all__ = ["DetectionMapper"]


class DetectionMapper(DatasetMapper):
    """Detectron2's mapper with :func:`build_augmentation`, faster, and on demand with whole boxes.

    Boxes, masks and keypoints are those of ``DatasetMapper``, and so are the pixels but for the
    rounding of resized training images (see :class:`FastAugInput`). Test images are equal.

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
        asked = cfg
        if cfg.MODEL.KEYPOINT_ON and not is_train:
            # Detectron2 would ask for the training set's keypoints, which a test does not need
            asked = cfg.clone()
            asked.defrost()
            asked.MODEL.KEYPOINT_ON = False
        options: dict[str, Any] = super().from_config(asked, is_train)
        options["augmentations"] = build_augmentation(cfg, is_train)
        options["clip_boxes"] = not cfg.INPUT.NOT_CLAMP_BOX
        return options

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Read and augment an image.

        Args:
            dataset_dict: a record in Detectron2's format. It is left as it is; values that need no
                change are shared with the result.

        Returns:
            The record with ``image``, ``(C, H, W)``, and in training ``instances``.
        """
        if "sem_seg_file_name" in dataset_dict or self.proposal_topk is not None:
            return super().__call__(dataset_dict)
        sample = dict(dataset_dict)
        annotations = sample.pop("annotations", None)
        pixels = read_image(sample["file_name"], self.image_format)
        utils.check_image_size(sample, pixels)
        shown = FastAugInput(pixels) if self.is_train else T.AugInput(pixels)
        transforms = self.augmentations(shown)
        sample["image"] = torch.as_tensor(np.ascontiguousarray(shown.image.transpose(2, 0, 1)))
        if self.is_train and annotations is not None:
            sample["annotations"] = annotations
            self._transform_annotations(sample, transforms, shown.image.shape[:2])
        return sample

    def _transform_annotations(
        self,
        dataset_dict: dict[str, Any],
        transforms: T.TransformList,
        image_shape: tuple[int, int],
    ) -> None:
        unused = {"segmentation"} if not self.use_instance_mask else set()
        if not self.use_keypoint:
            unused.add("keypoints")
        annotations, whole_boxes = transform_annotations(
            [
                {key: value for key, value in annotation.items() if key not in unused}
                for annotation in dataset_dict.pop("annotations")
                if annotation.get("iscrowd", 0) == 0
            ],
            transforms,
            image_shape,
            self.keypoint_hflip_indices,
        )
        masks = None
        with_masks = bool(annotations) and "segmentation" in annotations[0]
        if with_masks and self.instance_mask_format == "bitmask":
            masks = [annotation.pop("segmentation") for annotation in annotations]
        instances = utils.annotations_to_instances(annotations, image_shape)
        keeps_whole_boxes = not (self.clip_boxes or self.recompute_boxes)
        if keeps_whole_boxes:
            instances.whole_boxes = Boxes(whole_boxes)
        if masks:
            instances = add_bitmaps(instances, masks)
        if self.recompute_boxes and instances.has("gt_masks"):
            # The tight boxes of what a crop leaves of the masks.
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        instances = utils.filter_empty_instances(instances, by_mask=not masks)
        # The clipped boxes say which objects are visible; then the whole ones take their place.
        if keeps_whole_boxes:
            instances.gt_boxes = instances.whole_boxes
            instances.remove("whole_boxes")
        dataset_dict["instances"] = instances
