"""How alike two glyphs look once size and position are gone: what keeps categories distinct.

Scenes rotate a glyph by up to :data:`MAX_ROTATION` degrees either way, and training flips
images, so two glyphs must differ under every relative rotation of twice that angle and under
reflection.
"""

from __future__ import annotations

import cv2
import numpy as np

from centernet2.data.glyphs.faces import faces_of, ink

__all__ = ["MAX_ROTATION", "descriptor", "poses", "similarity", "upright"]

MAX_ROTATION = 30.0  # degrees
_STEP = 12.0  # degrees between the rotations compared
_RASTER = 48  # pixels: side of the square that the ink is fitted into
_CELLS = 20  # the raster is compared at this resolution, after a blur


def descriptor(pixels: np.ndarray, degrees: float = 0.0, mirrored: bool = False) -> np.ndarray:
    """Describe a glyph, rotated and fitted into a square.

    Args:
        pixels: uint8 (H, W) ink, not blank.
        degrees: rotation before the fit.
        mirrored: reflect left-right before the rotation.

    Returns:
        float32 (400,), zero mean and unit norm: an inner product of two is their correlation.
    """
    source = np.ascontiguousarray(pixels[:, ::-1] if mirrored else pixels)
    points = np.argwhere(source > 127)[:, ::-1]
    angle = np.deg2rad(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = points @ rotation.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    scale = _RASTER / ((high - low).max() + 1)
    shift = (_RASTER - 1) / 2 - (low + high) / 2 * scale
    matrix = np.column_stack([rotation * scale, shift])
    raster = cv2.warpAffine(source, matrix, (_RASTER, _RASTER), flags=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(raster.astype(np.float32), (0, 0), 2.0)
    cells = cv2.resize(blurred, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).ravel()
    cells -= cells.mean()
    return cells / (np.linalg.norm(cells) + 1e-6)


def upright(character: str, size: int = 96) -> np.ndarray:
    """Descriptors of a character as drawn by each of its faces: float32 (faces, 400)."""
    return np.stack([descriptor(ink(face, character, size)) for face in faces_of(character)])


def poses(character: str, size: int = 96) -> np.ndarray:
    """Descriptors under every rotation and reflection, all faces: float32 (poses, 400)."""
    angles = np.arange(-2 * MAX_ROTATION, 2 * MAX_ROTATION + 1, _STEP)
    return np.stack(
        [
            descriptor(ink(face, character, size), angle, mirrored)
            for face in faces_of(character)
            for mirrored in (False, True)
            for angle in angles
        ]
    )


def similarity(first: str, second: str) -> float:
    """The greatest correlation of two characters over faces, rotations and reflections."""
    one_way = (upright(first) @ poses(second).T).max()
    return float(max(one_way, (upright(second) @ poses(first).T).max()))
