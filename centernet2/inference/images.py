"""Detection on image files: drawings, results and a list of what went wrong."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from centernet2.errors import UserError
from centernet2.inference.batches import batched
from centernet2.inference.drawing import draw_predictions
from centernet2.inference.inputs import output_paths, read_image
from centernet2.inference.predictor import Predictor
from centernet2.inference.progress import Meter
from centernet2.inference.read_ahead import read_ahead
from centernet2.inference.results import image_ids
from centernet2.inference.sinks import NOTHING, Sinks

__all__ = ["ImageJob", "detect_images", "enlarged", "image_jobs", "save_picture"]

Picture = npt.NDArray[np.uint8]  # (H, W, 3), RGB

_SMALL = 320  # pixels: a still whose longer side is shorter is enlarged for drawing
_ENLARGED = 640


@dataclasses.dataclass(frozen=True)
class ImageJob:
    """An image to look at.

    Attributes:
        path: its file.
        image_id: its id in COCO results.
        name: what it is called in results.
        target: file for its drawing; None: there is none.
    """

    path: Path
    image_id: int
    name: str
    target: Path | None = None


def image_jobs(
    images: Sequence[Path], output: Path | None = None, names: Sequence[str] | None = None
) -> list[ImageJob]:
    """What is to be done with images.

    Args:
        images: distinct files.
        output: folder (or, for one image, file) for the drawings.
        names: what each is called in results; default: its file's name.

    Raises:
        UserError: see :func:`~centernet2.inference.inputs.output_paths`.
    """
    targets = output_paths(images, output) if output is not None else [None] * len(images)
    names = names if names is not None else [image.name for image in images]
    return [ImageJob(*parts) for parts in zip(images, image_ids(images), names, targets)]


def detect_images(
    predictor: Predictor,
    jobs: Sequence[ImageJob],
    sinks: Sinks = NOTHING,
    batch_size: int = 1,
    meter: Meter | None = None,
    tell: bool = True,
) -> list[str]:
    """Detect the objects on image files, which are read ahead while the model works.

    Args:
        predictor: of the model.
        jobs: of :func:`image_jobs`.
        sinks: where the results go besides drawings; a window waits for a key at each drawing.
        batch_size: images given to the model at a time.
        meter: shows how far it is; default: a new one.
        tell: print a line for each image.

    Returns:
        One sentence for each image that could not be read or written.
    """
    names = predictor.class_names
    problems: list[str] = []
    with meter or Meter(len(jobs), "image") as bar:
        read = read_ahead(_read, jobs, ahead=2 * batch_size)
        for batch in batched(_readable(read, problems, sinks, bar), batch_size):
            predictions = predictor([picture[:, :, ::-1] for _, picture in batch])
            for (job, picture), found in zip(batch, predictions):
                bar.advance()
                if tell:
                    where = f" -> {job.target}" if job.target else ""
                    print(f"{job.path}: {_summary(found, names)}{where}")
                if sinks.results is not None:
                    sinks.results.write(found, job.image_id, job.name)
                drawing = None
                if job.target is not None or sinks.window is not None:
                    drawing = draw_predictions(*enlarged(picture, found), names)
                try:
                    if drawing is not None and job.target is not None:
                        save_picture(drawing, job.target)
                except UserError as error:
                    _fail(job, str(error), problems, sinks)
                else:
                    if sinks.record is not None:  # once all else of the image is on the disk
                        sinks.record.finished(job.name, found)
                if sinks.window is None or drawing is None:
                    continue
                if not sinks.window.show(drawing, wait=True):
                    return problems
    return problems


def _read(job: ImageJob) -> tuple[ImageJob, Picture | UserError]:
    try:
        return job, read_image(job.path)
    except UserError as error:
        return job, error


def _readable(
    read: Iterable[tuple[ImageJob, Picture | UserError]],
    problems: list[str],
    sinks: Sinks,
    bar: Meter,
) -> Iterator[tuple[ImageJob, Picture]]:
    for job, picture in read:
        if isinstance(picture, UserError):
            _fail(job, str(picture), problems, sinks)
            bar.advance()
        else:
            yield job, picture


def _fail(job: ImageJob, problem: str, problems: list[str], sinks: Sinks) -> None:
    problems.append(problem)
    if sinks.record is not None:
        sinks.record.failed(job.name, problem)


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
        predictions: with ``pred_boxes`` and optionally ``pred_masks`` and ``pred_keypoints``.

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
    if predictions.has("pred_keypoints"):
        joints = predictions.pred_keypoints
        large.pred_keypoints = torch.cat([joints[..., :2] * times, joints[..., 2:]], dim=2)
    picture = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    return picture.astype(np.uint8, copy=False), large
