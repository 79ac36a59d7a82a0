"""The images on which a model does best and worst, drawn by whoever can draw."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from centernet2.data.doctor.tables import image_file
from centernet2.errors import UserError
from centernet2.evaluation.report.files import Detections
from centernet2.evaluation.report.matching import IGNORED, Matches
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
    matches: Matches,
    ranking: Iterable[ImageScore],
    folder: Path,
    draw: Draw,
    *,
    threshold: float,
    count: int,
    without: Collection[int] = (),
) -> tuple[list[DrawnImage], list[str]]:
    """Draw the first images of a ranking; those that cannot be drawn make room for the next.

    Args:
        data: what was evaluated.
        matches: tells which detections count.
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
    names = {category["id"]: category["name"] for category in data.categories}
    images = {image["id"]: image for image in data.truth["images"]}
    counted = (matches.score >= threshold) & (matches.kind != IGNORED)
    drawn: list[DrawnImage] = []
    problems: list[str] = []
    for score in ranking:
        if len(drawn) == count or len(problems) == _MOST_FAILURES:
            break
        if score.image_id in without:
            continue
        image = images[score.image_id]
        name = image_file(image)
        if name is None:
            problems.append(f"image {score.image_id} has no 'file_name' in the annotations")
            continue
        of_image = matches.image == matches.image_ids.index(score.image_id)
        found = [data.found[i] for i in matches.index[counted & of_image]]
        objects = [
            o
            for o in data.truth["annotations"]
            if o["image_id"] == score.image_id and not o["iscrowd"]
        ]
        try:
            picture = draw(folder / name, image, found, objects, names)
        except UserError as error:
            problems.append(str(error))
            continue
        drawn.append(DrawnImage(_jpeg(picture), name, score))
    return drawn, problems


def _jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(picture)
    image.thumbnail((_WIDEST, 2 * _WIDEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    return buffer.getvalue()
