"""The augmentation that networks of keypoints are trained with: a window of random size and place,
a flip, and random colours.

Random numbers come from NumPy's global generator, as in Detectron2's own augmentations.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from detectron2.data import transforms as T

__all__ = [
    "ColorJitter",
    "ColorJitterTransform",
    "KeypointCrop",
    "KeypointCropTransform",
    "Lighting",
    "LightingTransform",
    "PixelFlip",
    "PixelFlipTransform",
    "crop_border",
    "crop_sides",
]

Pixels = npt.NDArray[np.generic]

# Of blue, green, red
GRAY_WEIGHTS = np.array([0.114, 0.587, 0.299], dtype=np.float32)
# Principal components of the colours of ImageNet: variances, and a column of B, G, R each
COLOR_VARIANCES = np.array([0.2141788, 0.01817699, 0.00341571])
COLOR_COMPONENTS = np.array(
    [
        [-0.58752847, -0.69563484, 0.41340352],
        [-0.5832747, 0.00994535, -0.81221408],
        [-0.56089297, 0.71832671, 0.41158938],
    ]
)


class KeypointCropTransform(T.Transform):
    """Cut a square window out of an image, black where it leaves it, and resize it.

    The window reaches from ``center - side // 2`` to ``center + side // 2``, exclusive: the last
    row and column of an odd side stay black, as published. There is no inverse.

    Args:
        center: (x, y) in whole pixels.
        side: of the window, in pixels.
        size: its side after resizing.
    """

    def __init__(self, center: tuple[int, int], side: int, size: int) -> None:
        super().__init__()
        self.left, self.top = (c - side // 2 for c in center)
        self.side, self.size = side, size

    def apply_image(self, img: Pixels) -> Pixels:
        """Crop and resize bilinearly, without antialiasing.

        Args:
            img: ``(H, W)`` or ``(H, W, C)``.
        """
        return self._resized(img, cv2.INTER_LINEAR)

    def apply_segmentation(self, segmentation: Pixels) -> Pixels:
        """Crop a map of labels ``(H, W)`` and resize it to the nearest value; 0 outside."""
        # OpenCV knows few types
        resized = self._resized(segmentation.astype(np.int32), cv2.INTER_NEAREST)
        return resized.astype(segmentation.dtype)

    def apply_coords(self, coords: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        """Move points ``(N, 2)`` of x, y along; what lies outside is not clipped."""
        moved = coords.astype(np.float64) - (self.left, self.top)
        return moved * (self.size / self.side)

    def _resized(self, image: Pixels, interpolation: int) -> Pixels:
        reach = 2 * (self.side // 2)
        rows = max(self.top, 0), min(self.top + reach, image.shape[0])
        columns = max(self.left, 0), min(self.left + reach, image.shape[1])
        window = np.zeros((self.side, self.side, *image.shape[2:]), dtype=image.dtype)
        window[
            rows[0] - self.top : rows[1] - self.top, columns[0] - self.left : columns[1] - self.left
        ] = image[slice(*rows), slice(*columns)]
        # OpenCV drops an axis of one channel
        resized = cv2.resize(window, (self.size, self.size), interpolation=interpolation)
        return resized.reshape(self.size, self.size, *image.shape[2:])


class KeypointCrop(T.Augmentation):
    """A square window of random side around a random point, resized to a fixed size.

    Args:
        size: side of the result in pixels.
        scales: least and greatest side of the window over ``size``, and the step between sides.
        border: the window's centre keeps this distance from the image's sides, in pixels; a half,
            quarter, ... of it in images that are too small.
    """

    def __init__(
        self, size: int, scales: tuple[float, float, float] = (0.6, 1.3, 0.1), border: int = 128
    ) -> None:
        super().__init__()
        self.size = size
        self.border = border
        self.sides = crop_sides(size, scales)

    def get_transform(self, image: Pixels) -> KeypointCropTransform:
        """Draw a window for an image of ``(H, W, ...)``."""
        side = int(np.random.choice(self.sides))  # noqa: NPY002 (as Detectron2 draws)
        height, width = image.shape[:2]
        x, y = (
            int(np.random.randint(b, length - b))  # noqa: NPY002
            for length in (width, height)
            for b in [crop_border(length, self.border)]
        )
        return KeypointCropTransform((x, y), side, self.size)


def crop_sides(size: int, scales: tuple[float, float, float]) -> npt.NDArray[np.int64]:
    """Sides of windows in pixels, truncated.

    Args:
        size: side that a scale of 1 stands for.
        scales: least and greatest scale, and the step. Multiples of the step are added up in
            floating point, so 0.6 to 1.3 in steps of 0.1 make 510 of 511 (as published).
    """
    low, high, step = scales
    return (size * np.arange(low, high + step / 2, step)).astype(np.int64)


def crop_border(length: int, border: int) -> int:
    """The largest of border, border // 2, border // 4, ... that leaves room in the middle.

    Args:
        length: side of the image in pixels.
        border: see above.
    """
    divisor = 1
    while length - border // divisor <= border // divisor:
        divisor *= 2
    return border // divisor


class PixelFlipTransform(T.HFlipTransform):
    """Mirror an image; points are those of whole pixels: x becomes width - 1 - x.

    Args:
        width: of the image, in pixels.
    """

    def apply_coords(self, coords: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        """Mirror points ``(N, 2)`` of x, y."""
        mirrored = coords.astype(np.float64)
        mirrored[:, 0] = self.width - 1 - mirrored[:, 0]
        return mirrored


class PixelFlip(T.Augmentation):
    """:class:`PixelFlipTransform` of half of the images."""

    def get_transform(self, image: Pixels) -> T.Transform:
        """Draw whether to flip an image of ``(H, W, ...)``."""
        if np.random.uniform() < 0.5:  # noqa: NPY002
            return PixelFlipTransform(image.shape[1])
        return T.NoOpTransform()


class _ColorTransform(T.Transform):
    """Changes colours alone; the result is float32 and not clipped to 0 to 255."""

    def apply_segmentation(self, segmentation: Pixels) -> Pixels:
        return segmentation

    def apply_coords(self, coords: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return coords


class ColorJitterTransform(_ColorTransform):
    """Brightness, contrast and saturation, one after the other.

    With ``a`` the factor of a step: brightness is ``a * image``, contrast ``a * image + (1 - a) *
    mean(gray)``, saturation ``a * image + (1 - a) * gray``. ``gray`` is that of the image before
    any of them.

    Args:
        steps: (name, factor) in the order of application.
        channels: "BGR" or "RGB".
    """

    def __init__(self, steps: list[tuple[str, float]], channels: str = "BGR") -> None:
        super().__init__()
        self.steps = steps
        self.gray_weights = GRAY_WEIGHTS if channels == "BGR" else GRAY_WEIGHTS[::-1]

    def apply_image(self, img: Pixels) -> npt.NDArray[np.float32]:
        """
        Args:
            img: ``(H, W, 3)`` of 0 to 255.
        """
        image = img.astype(np.float32)
        gray = (image @ self.gray_weights)[:, :, None]
        # All steps together: of_image * image + of_gray * gray + constant
        of_image, of_gray, constant = 1.0, 0.0, 0.0
        for name, factor in self.steps:
            of_image, of_gray, constant = factor * of_image, factor * of_gray, factor * constant
            if name == "saturation":
                of_gray += 1 - factor
            elif name == "contrast":
                constant += (1 - factor) * float(gray.mean())
        image *= np.float32(of_image)
        image += gray * np.float32(of_gray) + np.float32(constant)
        return image


class ColorJitter(T.Augmentation):
    """Random brightness, contrast and saturation, in random order.

    Args:
        strength: each factor is uniform in 1 - strength to 1 + strength.
        channels: "BGR" or "RGB".
    """

    def __init__(self, strength: float = 0.4, channels: str = "BGR") -> None:
        super().__init__()
        self.strength = strength
        self.channels = channels

    def get_transform(self, image: Pixels) -> ColorJitterTransform:
        """Draw order and factors."""
        names = np.random.permutation(["brightness", "contrast", "saturation"])  # noqa: NPY002
        factors = 1 + np.random.uniform(-self.strength, self.strength, 3)  # noqa: NPY002
        return ColorJitterTransform(list(zip(names.tolist(), factors.tolist())), self.channels)


class LightingTransform(_ColorTransform):
    """Add one colour to all pixels, along the principal components of natural images' colours.

    Args:
        alpha: ``(3,)``, how much of each component, in units of its variance.
        channels: "BGR" or "RGB".
    """

    def __init__(self, alpha: npt.NDArray[np.float64], channels: str = "BGR") -> None:
        super().__init__()
        color = 255 * (COLOR_COMPONENTS @ (COLOR_VARIANCES * alpha))
        self.color = (color if channels == "BGR" else color[::-1]).astype(np.float32)

    def apply_image(self, img: Pixels) -> npt.NDArray[np.float32]:
        """
        Args:
            img: ``(H, W, 3)`` of 0 to 255.
        """
        return img.astype(np.float32) + self.color


class Lighting(T.Augmentation):
    """Random :class:`LightingTransform`.

    Args:
        deviation: standard deviation of each component's share.
        channels: "BGR" or "RGB".
    """

    def __init__(self, deviation: float = 0.1, channels: str = "BGR") -> None:
        super().__init__()
        self.deviation = deviation
        self.channels = channels

    def get_transform(self, image: Pixels) -> LightingTransform:
        """Draw a colour."""
        alpha = np.random.normal(scale=self.deviation, size=3)  # noqa: NPY002
        return LightingTransform(alpha, self.channels)
