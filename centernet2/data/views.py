"""The sizes at which test-time augmentation shows an image."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.data import transforms as T

from centernet2.data.augmentation import EfficientDetResizeCrop
from centernet2.data.resize import ShortestEdge
from centernet2.errors import UserError

__all__ = ["view_resizes", "whole_image_config"]


def view_resizes(cfg: CfgNode) -> list[T.Augmentation]:
    """One resizing for each of TEST.AUG.MIN_SIZES.

    A size is the shorter side in pixels, and MAX_SIZE limits the longer one. Models that are shown
    images fitted into a square (INPUT.TEST_INPUT_TYPE "square") were trained for sizes of the
    longer side: there a size is the side of the square, in place of INPUT.TEST_SIZE, and MAX_SIZE
    limits it.

    Raises:
        UserError: if there are no sizes, or one is below 1 pixel.
    """
    sizes, longest = list(cfg.TEST.AUG.MIN_SIZES), cfg.TEST.AUG.MAX_SIZE
    if not sizes or min(sizes) < 1:
        raise UserError(
            f"TEST.AUG.MIN_SIZES is {sizes}; give one or more sizes of 1 pixel or more."
        )
    if longest < 1:
        raise UserError(f"TEST.AUG.MAX_SIZE is {longest}; it must be at least 1 pixel.")
    if cfg.INPUT.TEST_INPUT_TYPE == "square":
        return [EfficientDetResizeCrop(min(size, longest), (1.0, 1.0)) for size in sizes]
    return [ShortestEdge(size, longest) for size in sizes]


def whole_image_config(cfg: CfgNode) -> CfgNode:
    """A copy of a config with which test images come as they were read.

    Views made from the original pixels are sharper than those of an image resized before.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.TEST_INPUT_TYPE = "default"
    cfg.INPUT.MIN_SIZE_TEST = 0  # Detectron2's word for "as it is"
    return cfg
