"""The augmentation of Objects as Points: one warp that crops, scales, pads and flips.

Random numbers come from NumPy's global generator, as in Detectron2's own augmentations.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from detectron2.data import transforms as T

from centernet2.data.keypoint_augmentation import crop_border

__all__ = ["PointsCrop", "PointsCropTransform"]

Pixels = npt.NDArray[np.generic]


class PointsCropTransform(T.Transform):
    """Show a square window around a point in a square of another size, black outside the image.

    A point p becomes ``size / side * (p - center) + size / 2``, so whole coordinates are pixels.
    With ``mirror`` the image is mirrored first: x becomes width - 1 - x, and the centre alike.

    Args:
        center: (x, y) in the image.
        side: of the window in pixels of the image.
        size: of the result in pixels.
        mirror: see above.
    """

    def __init__(
        self, center: tuple[float, float], side: float, size: int, mirror: bool = False
    ) -> None:
        super().__init__()
        self.center, self.side, self.size, self.mirror = center, side, size, mirror
        scale = size / side
        factors = np.array([-scale if mirror else scale, scale])
        self.matrix = np.column_stack([np.diag(factors), size / 2 - factors * center])

    def apply_image(self, img: Pixels) -> Pixels:
        """Warp bilinearly, without antialiasing.

        Args:
            img: ``(H, W)`` or ``(H, W, C)``.
        """
        return self._warped(img, cv2.INTER_LINEAR)

    def apply_segmentation(self, segmentation: Pixels) -> Pixels:
        """Warp a map of labels ``(H, W)`` to the nearest value; 0 outside."""
        # OpenCV knows few types
        warped = self._warped(segmentation.astype(np.uint16), cv2.INTER_NEAREST)
        return warped.astype(segmentation.dtype)

    def apply_coords(self, coords: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        """Move points ``(N, 2)`` of x, y along; what lies outside is not clipped."""
        return coords.astype(np.float64) * np.diag(self.matrix) + self.matrix[:, 2]

    def _warped(self, image: Any, interpolation: int) -> Pixels:
        size = (self.size, self.size)
        warped: Any = cv2.warpAffine(image, self.matrix, size, flags=interpolation)
        # OpenCV drops an axis of one channel
        result: Pixels = warped.reshape(*size, *image.shape[2:])
        return result


class PointsCrop(T.Augmentation):
    """A square window of random side around a random point, half of the time mirrored.

    Args:
        size: side of the result in pixels.
        scales: least and greatest side of the window over the image's longer side, and the step
            between sides.
        border: the window's centre keeps this distance from the image's sides, in pixels; a half,
            quarter, ... of it in images that are too small.
        mirror: whether to mirror half of the images.
    """

    def __init__(
        self,
        size: int,
        scales: tuple[float, float, float] = (0.6, 1.3, 0.1),
        border: int = 128,
        mirror: bool = True,
    ) -> None:
        super().__init__()
        self.size, self.border, self.mirror = size, border, mirror
        low, high, step = scales
        self.scales = np.arange(low, high + step / 2, step)

    def get_transform(self, image: Pixels) -> PointsCropTransform:
        """Draw a window for an image of ``(H, W, ...)``."""
        height, width = image.shape[:2]
        side = max(height, width) * float(np.random.choice(self.scales))  # noqa: NPY002
        x, y = (
            int(np.random.randint(b, length - b))  # noqa: NPY002
            for length in (width, height)
            for b in [crop_border(length, self.border)]
        )
        mirror = self.mirror and bool(np.random.random() < 0.5)  # noqa: NPY002
        return PointsCropTransform((x, y), side, self.size, mirror)
