"""Resizing, cropping and flipping as a config asks for it, the same wherever images are read.

Training loader, test loader and predictor all take their augmentations from
:func:`build_augmentation`, so a detector is shown images of the size it was made for.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from PIL import Image

from centernet2.data.keypoint_augmentation import ColorJitter, KeypointCrop, Lighting, PixelFlip
from centernet2.data.points_augmentation import PointsCrop
from centernet2.data.resize import detectron2_augmentation
from centernet2.errors import UserError

__all__ = ["EfficientDetResizeCrop", "EfficientDetResizeCropTransform", "build_augmentation"]


class EfficientDetResizeCropTransform(T.Transform):
    """Resize by one factor, then cut out a window of at most ``size`` x ``size`` pixels.

    There is no inverse: what the window leaves out is lost.

    Args:
        h: height of the image in pixels.
        w: its width.
        scale: factor of both sides; the sides of the result are truncated to whole pixels.
        size: side of the window.
        offset_y: first row of the window in the resized image.
        offset_x: its first column.
    """

    def __init__(
        self, h: int, w: int, scale: float, size: int, offset_y: int = 0, offset_x: int = 0
    ) -> None:
        super().__init__()
        self.h, self.w = h, w
        self.scale, self.size = scale, size
        self.offset_y, self.offset_x = offset_y, offset_x
        self.resize = T.ResizeTransform(h, w, *_scaled(h, w, scale))

    def apply_image(self, img: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Resize bilinearly (uint8 with antialiasing, floats without) and crop.

        Args:
            img: ``(H, W)`` or ``(H, W, C)``.
        """
        return self.crop(self.resize.apply_image(img))

    def apply_segmentation(self, segmentation: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Resize a map of labels to the nearest value and crop.

        Args:
            segmentation: ``(H, W)`` of bool or an integer type, which the result has too.
        """
        if segmentation.dtype == np.uint8:
            return self.crop(self.resize.apply_segmentation(segmentation))
        # Pillow samples the same pixels whatever the type, but knows few types.
        labels = Image.fromarray(segmentation.astype(np.int32))
        resized = labels.resize((self.resize.new_w, self.resize.new_h), Image.Resampling.NEAREST)
        return self.crop(np.asarray(resized)).astype(segmentation.dtype)

    def apply_coords(self, coords: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        """Move points along; boxes and polygons follow, and are not clipped.

        The factor is ``scale`` itself and not the ratio of the truncated sides: published weights
        were trained with it.

        Args:
            coords: ``(N, 2)`` of x, y in pixels; left as it is.

        Returns:
            ``(N, 2)``.
        """
        return coords.astype(np.float64) * self.scale - (self.offset_x, self.offset_y)

    def crop(self, image: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Cut the window out of an image of ``(H, W, ...)`` that :attr:`resize` has scaled."""
        y, x = self.offset_y, self.offset_x
        return image[y : y + self.size, x : x + self.size]


class EfficientDetResizeCrop(T.Augmentation):
    """The scale jittering of EfficientDet: fit into a square of random size, crop at random.

    The image is scaled so that it fits into a square of k * ``size``, with k uniform in ``scale``;
    where it is larger than ``size`` then, a random window of that size is kept. Nothing is padded.

    Args:
        size: side of the square in pixels.
        scale: least and greatest k. (1, 1) makes the longer side ``size`` and crops nothing.
    """

    def __init__(self, size: int, scale: tuple[float, float]) -> None:
        super().__init__()
        self.size = size
        self.scale = scale

    def get_transform(self, image: npt.NDArray[np.generic]) -> EfficientDetResizeCropTransform:
        """Draw a transform for an image of ``(H, W, ...)``."""
        h, w = image.shape[:2]
        fitted = np.random.uniform(*self.scale) * self.size  # noqa: NPY002 (as Detectron2 draws)
        scale = min(fitted / h, fitted / w)
        new_h, new_w = _scaled(h, w, scale)
        y = int(max(0, new_h - self.size) * np.random.uniform())  # noqa: NPY002
        x = int(max(0, new_w - self.size) * np.random.uniform())  # noqa: NPY002
        return EfficientDetResizeCropTransform(h, w, scale, self.size, y, x)


def _scaled(h: int, w: int, scale: float) -> tuple[int, int]:
    # A very elongated image would lose its shorter side.
    return max(1, int(h * scale)), max(1, int(w * scale))


def build_augmentation(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """The augmentations of a config, in the order in which they are applied.

    Args:
        cfg: reads INPUT. In training CUSTOM_AUG decides (then RANDOM_FLIP, COLOR_JITTER and
            LIGHTING), at test time TEST_INPUT_TYPE.
        is_train: whether for training.

    Raises:
        UserError: for an unknown CUSTOM_AUG or TEST_INPUT_TYPE, an impossible size, scale, flip or
            colour, or INPUT.CROP together with a CUSTOM_AUG that crops by itself.
    """
    options = cfg.INPUT
    if not is_train:
        _choose("TEST_INPUT_TYPE", options.TEST_INPUT_TYPE, ("default", "square"))
        if options.TEST_INPUT_TYPE == "square":
            return [EfficientDetResizeCrop(_size("TEST_SIZE", options.TEST_SIZE), (1.0, 1.0))]
        return list(detectron2_augmentation(cfg, is_train=False))
    return [*_geometry(cfg), *_colors(cfg)]


def _geometry(cfg: CfgNode) -> list[T.Augmentation]:
    options = cfg.INPUT
    own = ("EfficientDetResizeCrop", "KeypointCrop", "PointsCrop")
    _choose("CUSTOM_AUG", options.CUSTOM_AUG, (*own, "ResizeShortestEdge", ""))
    if options.CUSTOM_AUG in own and options.CROP.ENABLED:
        raise UserError(
            f"INPUT.CUSTOM_AUG {options.CUSTOM_AUG} crops by itself: set INPUT.CROP.ENABLED False."
        )
    if options.CUSTOM_AUG in ("KeypointCrop", "PointsCrop"):
        return _random_window(cfg)
    resize, *flip = detectron2_augmentation(cfg, is_train=True)
    if options.CUSTOM_AUG != "EfficientDetResizeCrop":
        crop = [T.RandomCrop(options.CROP.TYPE, options.CROP.SIZE)] if options.CROP.ENABLED else []
        return [*crop, resize, *flip]
    low, high = options.SCALE_RANGE if len(options.SCALE_RANGE) == 2 else (0, 0)
    if not 0 < low <= high:
        raise UserError(
            f"INPUT.SCALE_RANGE is {options.SCALE_RANGE}; it must be two numbers above 0, the "
            "smaller one first, such as (0.1, 2.0)."
        )
    return [EfficientDetResizeCrop(_size("TRAIN_SIZE", options.TRAIN_SIZE), (low, high)), *flip]


def _random_window(cfg: CfgNode) -> list[T.Augmentation]:
    options = cfg.INPUT
    scales = tuple(options.CROP_SCALES)
    if len(scales) != 3 or not 0 < scales[0] <= scales[1] or scales[2] <= 0:
        raise UserError(
            f"INPUT.CROP_SCALES is {options.CROP_SCALES}; it must be the least and the greatest "
            "scale and the step between them, all above 0, such as (0.6, 1.3, 0.1)."
        )
    if options.CROP_BORDER < 0:
        raise UserError(f"INPUT.CROP_BORDER is {options.CROP_BORDER}; it must be 0 or more pixels.")
    _choose("RANDOM_FLIP", options.RANDOM_FLIP, ("horizontal", "none"))
    size, mirror = _size("TRAIN_SIZE", options.TRAIN_SIZE), options.RANDOM_FLIP == "horizontal"
    if options.CUSTOM_AUG == "PointsCrop":
        return [PointsCrop(size, scales, options.CROP_BORDER, mirror)]
    crop = KeypointCrop(size, scales, options.CROP_BORDER)
    return [crop, PixelFlip()] if mirror else [crop]


def _colors(cfg: CfgNode) -> list[T.Augmentation]:
    options = cfg.INPUT
    kinds = (("COLOR_JITTER", ColorJitter), ("LIGHTING", Lighting))
    chosen: list[T.Augmentation] = []
    for key, kind in kinds:
        strength = options[key]
        if strength < 0:
            raise UserError(f"INPUT.{key} is {strength}; it must be 0 (off) or more.")
        if strength > 0:
            if options.FORMAT not in ("BGR", "RGB"):
                raise UserError(f"INPUT.{key} needs INPUT.FORMAT BGR or RGB, not {options.FORMAT}.")
            chosen.append(kind(strength, options.FORMAT))
    return chosen


def _choose(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        names = ", ".join(f"'{name}'" for name in known)
        raise UserError(f"INPUT.{key} is '{value}'; choose one of {names}.")


def _size(key: str, value: int) -> int:
    if value < 1:
        raise UserError(f"INPUT.{key} is {value}; it must be at least 1 pixel.")
    return value
