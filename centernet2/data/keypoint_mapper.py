"""From a record to the input of a network of keypoints, as the published ones were trained."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T

from centernet2.data.mapper import DetectionMapper
from centernet2.data.points_mapper import PointsMapper
from centernet2.errors import UserError

__all__ = ["KeypointMapper", "training_mapper"]


class KeypointMapper(DetectionMapper):
    """:class:`DetectionMapper` with crowds as boxes like any other, or boxes of whole pixels."""

    @configurable
    def __init__(
        self, is_train: bool, *, keep_crowds: bool = True, whole_pixels: bool = True, **options: Any
    ) -> None:
        """
        Args:
            is_train: whether to keep the annotations.
            keep_crowds: whether the boxes of crowds are learnt too.
            whole_pixels: clip boxes to the last pixel, width - 1, rather than to the image's edge,
                so that each corner lies in a cell.
            options: those of :class:`DetectionMapper`.
        """
        super().__init__(is_train, **options)
        self.keep_crowds = keep_crowds
        self.whole_pixels = whole_pixels

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """The arguments that a config stands for.

        Raises:
            UserError: for crowds together with masks, which crowds do not have.
        """
        if cfg.INPUT.KEEP_CROWDS and cfg.MODEL.MASK_ON:
            raise UserError(
                "INPUT.KEEP_CROWDS True needs MODEL.MASK_ON False: a crowd has no mask to learn."
            )
        options = super().from_config(cfg, is_train)
        options["keep_crowds"] = cfg.INPUT.KEEP_CROWDS
        options["whole_pixels"] = cfg.INPUT.CUSTOM_AUG == "KeypointCrop"
        return options

    def _transform_annotations(
        self, dataset_dict: dict[str, Any], transforms: T.Transform, image_shape: tuple[int, int]
    ) -> None:
        if self.keep_crowds:
            annotations = dataset_dict["annotations"]
            dataset_dict["annotations"] = [{**a, "iscrowd": 0} for a in annotations]
        super()._transform_annotations(dataset_dict, transforms, image_shape)
        if self.whole_pixels:
            height, width = image_shape
            instances = dataset_dict["instances"]
            instances.gt_boxes.clip((height - 1, width - 1))
            dataset_dict["instances"] = instances[instances.gt_boxes.nonempty()]


def training_mapper(cfg: CfgNode) -> DetectionMapper:
    """The mapper of a config's training images.

    Args:
        cfg: reads INPUT and MODEL.
    """
    if cfg.MODEL.META_ARCHITECTURE == "ObjectsAsPoints":
        return PointsMapper(cfg, is_train=True)
    special = cfg.INPUT.KEEP_CROWDS or cfg.INPUT.CUSTOM_AUG == "KeypointCrop"
    kind = KeypointMapper if special else DetectionMapper
    return kind(cfg, is_train=True)
