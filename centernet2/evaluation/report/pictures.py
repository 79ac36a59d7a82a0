"""The images on which a model does best and worst, drawn by whoever can draw."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from centernet2.data.doctor.tables import image_file
from centernet2.errors import UserError
from centernet2.evaluation.report.files import Detections
from centernet2.evaluation.report.ranking import ImageScore

__all__ = ["Draw", "DrawnImage", "draw_images"]

Record = dict[str, Any]

# Draws the detections and the objects of an image, both in COCO's format: the image's file, its
# entry in the annotation file, detections, objects, names by category id. Returns (H, W, 3) RGB;
# raises UserError if the image cannot be drawn.
Draw = Callable[
    [Path, Record, Sequence[Record], Sequence[Record], Mapping[int, str]], npt.NDArray[np.uint8]
]

_WIDEST = 1100  # pixels: sharp on the page, and a dozen of them stay a few megabytes
_MOST_FAILURES = 5


@dataclass(frozen=True)
class DrawnImage:
    """A JPEG and what it shows."""

    jpeg: bytes
    file_name: str
    score: ImageScore


def draw_images(
    data: Detections,
    ranking: Iterable[ImageScore],
    folder: Path,
    draw: Draw,
    *,
    threshold: float,
    count: int,
    without: Iterable[int] = (),
) -> tuple[list[DrawnImage], list[str]]:
    """Draw the first images of a ranking; those that cannot be drawn make room for the next.

    Args:
        data: objects and detections.
        ranking: best or worst first.
        folder: that the file names are relative to.
        draw: see above.
        threshold: lowest score of a detection that is drawn.
        count: of images, fewer if there are no more.
        without: ids of images to pass over.

    Returns:
        The images, and a sentence for each that could not be drawn; after five of these nothing
        more is tried.
    """
    passed = set(without)
    names = {category["id"]: category["name"] for category in data.categories}
    images = {image["id"]: image for image in data.truth["images"]}
    chosen = [score for score in ranking if score.image_id not in passed]
    near = {score.image_id for score in chosen[: count + _MOST_FAILURES]}
    objects, found = _by_image(data.truth["annotations"], near), _by_image(data.found, near)
    drawn: list[DrawnImage] = []
    problems: list[str] = []
    for score in chosen:
        if len(drawn) == count or len(problems) == _MOST_FAILURES:
            break
        image = images[score.image_id]
        name = image_file(image)
        if name is None:
            problems.append(f"image {score.image_id} has no 'file_name' in the annotations")
            continue
        confident = [d for d in found[score.image_id] if d["score"] >= threshold]
        plain = [o for o in objects[score.image_id] if not o["iscrowd"]]
        try:
            picture = draw(folder / name, image, confident, plain, names)
        except UserError as error:
            problems.append(str(error))
            continue
        drawn.append(DrawnImage(_jpeg(picture), name, score))
    return drawn, problems


def _by_image(records: Iterable[Record], ids: set[int]) -> dict[int, list[Record]]:
    result = defaultdict(list)
    for record in records:
        if record["image_id"] in ids:
            result[record["image_id"]].append(record)
    return result


def _jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(picture)
    image.thumbnail((_WIDEST, 2 * _WIDEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    return buffer.getvalue()
