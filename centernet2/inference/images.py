"""Detection on image files: drawings, results and a list of what went wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image
from tqdm import tqdm

from centernet2.errors import UserError
from centernet2.inference.batches import batched
from centernet2.inference.drawing import draw_predictions
from centernet2.inference.inputs import output_paths, read_image
from centernet2.inference.predictor import Predictor
from centernet2.inference.results import image_ids
from centernet2.inference.sinks import NOTHING, Sinks

__all__ = ["detect_images", "enlarged", "save_picture"]

Picture = npt.NDArray[np.uint8]  # (H, W, 3), RGB

_SMALL = 320  # pixels: a still whose longer side is shorter is enlarged for drawing
_ENLARGED = 640


def detect_images(
    predictor: Predictor,
    images: Sequence[Path],
    output: Path | None = None,
    sinks: Sinks = NOTHING,
    batch_size: int = 1,
) -> list[str]:
    """Detect the objects on image files, with a progress bar.

    Args:
        predictor: of the model.
        images: distinct files.
        output: folder (or, for one image, file) for the drawings.
        sinks: where else the results go; a window waits for a key at each drawing.
        batch_size: images given to the model at a time.

    Returns:
        One sentence for each image that could not be read or written.

    Raises:
        UserError: see :func:`~centernet2.inference.inputs.output_paths`.
    """
    targets = output_paths(images, output) if output is not None else [None] * len(images)
    names = predictor.class_names
    problems: list[str] = []
    with tqdm(total=len(images), unit="image") as bar:
        jobs = _readable(list(zip(images, image_ids(images), targets)), problems, bar)
        for batch in batched(jobs, batch_size):
            predictions = predictor([picture[:, :, ::-1] for picture, *_ in batch])
            for (picture, path, image_id, target), found in zip(batch, predictions):
                bar.update()
                bar.write(f"{path}: {_summary(found, names)}" + (f" -> {target}" if target else ""))
                if sinks.results is not None:
                    sinks.results.write(found, image_id, path.name)
                if target is None and sinks.window is None:
                    continue
                drawing = draw_predictions(*enlarged(picture, found), names)
                if target is not None:
                    try:
                        save_picture(drawing, target)
                    except UserError as error:
                        problems.append(str(error))
                if sinks.window is not None and not sinks.window.show(drawing, wait=True):
                    return problems
    return problems


def _readable(
    jobs: Sequence[tuple[Path, int, Path | None]], problems: list[str], bar: tqdm
) -> Iterator[tuple[Picture, Path, int, Path | None]]:
    for path, image_id, target in jobs:
        try:
            picture = read_image(path)
        except UserError as error:
            problems.append(str(error))
            bar.update()
            continue
        yield picture, path, image_id, target


def _summary(found: Instances, names: Sequence[str]) -> str:
    counts = Counter(found.pred_classes.tolist())
    return ", ".join(f"{n} {names[c]}" for c, n in counts.most_common()) or "nothing found"


def save_picture(picture: Picture, path: Path) -> None:
    """Write a picture to a file, whose folder is made.

    Args:
        picture: ``(H, W, 3)`` uint8, RGB.
        path: its ending chooses the format.

    Raises:
        UserError: it cannot be written; says why in one sentence.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, quality=95)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    except ValueError as error:
        raise UserError(f"{path}: cannot be written ({error}); name a .jpg or .png") from error


def enlarged(image: Picture, predictions: Instances) -> tuple[Picture, Instances]:
    """Enlarge a small image and what was found on it, so that labels find room and can be read.

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        predictions: with ``pred_boxes`` and optionally ``pred_masks``.

    Returns:
        Both as they are from 320 pixels on; else a whole number of times as large.
    """
    longer = max(image.shape[:2])
    if longer >= _SMALL:
        return image, predictions
    times = math.ceil(_ENLARGED / longer)
    height, width = (side * times for side in image.shape[:2])
    fields = predictions.get_fields()
    large = Instances((height, width), **fields)
    large.pred_boxes = Boxes(predictions.pred_boxes.tensor * times)
    if predictions.has("pred_masks"):
        masks = torch.as_tensor(predictions.pred_masks)
        large.pred_masks = masks.repeat_interleave(times, 1).repeat_interleave(times, 2)
    picture = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    return picture.astype(np.uint8, copy=False), large
