"""An exported file and its model on the same images, and the images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from detectron2.data import transforms as T

from centernet2.data.glyphs.characters import CHARACTERS
from centernet2.data.glyphs.render import render_scene
from centernet2.errors import UserError
from centernet2.export.file_info import FileInfo
from centernet2.export.fitting import fit_into, fit_sides
from centernet2.export.parity import Parity, compare, model_outputs
from centernet2.export.runtimes import ExportedFile
from centernet2.inference.inputs import find_images, read_image
from centernet2.inference.predictor import Predictor

__all__ = ["calibration_inputs", "check_inputs", "check_parity", "embedded_picture"]

_MOST_FOR_CALIBRATION = 100

Pixels = npt.NDArray[np.uint8]


def embedded_picture() -> Pixels:
    """A picture of things on a textured ground, ``(H, W, 3)`` RGB, always the same."""
    rng = np.random.default_rng(1)
    things = [CHARACTERS[i] for i in rng.integers(0, len(CHARACTERS), 14)]
    picture: Pixels = render_scene(rng, things, (480, 640), (60, 300)).image
    return picture


def check_inputs(pictures: Sequence[Pixels], info: FileInfo) -> list[Pixels]:
    """Images to compare on.

    Args:
        pictures: of any size.
        info: of the file.

    Returns:
        Each in the file's size; where that may be any, in the model's, and in one of other
        proportions: a size that the recording has kept by mistake shows there.
    """
    if info.size is not None:
        return [fit_into(picture, info.size, info.padding)[0] for picture in pictures]
    inputs = []
    for picture in pictures:
        usual = fit_sides(picture, info.sides)
        height, width = usual.shape[:2]
        other = T.ResizeTransform(height, width, height * 9 // 10, width * 7 // 10)
        inputs += [usual, other.apply_image(usual)]
    return inputs


def calibration_inputs(folder: Path, info: FileInfo) -> list[Pixels]:
    """Images of a folder in the size that a file takes, at most 100, evenly spread by name.

    Raises:
        UserError: it holds no images, or one that cannot be read.
    """
    found = find_images([str(folder)])
    if not found.images:
        raise UserError("; ".join(found.problems) or f"{folder} holds no images")
    step = -(-len(found.images) // _MOST_FOR_CALIBRATION)
    pictures = (read_image(path) for path in found.images[::step])
    if info.size is None:
        return [fit_sides(picture, info.sides) for picture in pictures]
    return [fit_into(picture, info.size, info.padding)[0] for picture in pictures]


def check_parity(predictor: Predictor, file: ExportedFile, inputs: Sequence[Pixels]) -> Parity:
    """Compare what the model and the file find.

    Args:
        predictor: the model.
        file: exported from it.
        inputs: of :func:`check_inputs`.
    """
    pasted = file.info.masks == "image"
    return Parity.worst(
        [compare(model_outputs(predictor, pixels, pasted), file(pixels)) for pixels in inputs]
    )
