"""What models found on an upload, kept small, and what the page shows and hands out of it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from centernet2.inference.detections import Detections
from centernet2.inference.merging import coco_annotation

__all__ = ["Kept", "Look", "coco_document", "in_words", "table"]

LOWEST_SCORE = 0.05  # that the page's threshold can be set to: what networks are run with
TABLE_COLUMNS = ("#", "class", "score", "x", "y", "width", "height")


@dataclasses.dataclass(frozen=True)
class Look:
    """What the page's controls say.

    Attributes:
        threshold: least score, 0 to 1.
        classes: names of those shown; empty: all.
        masks: whether masks are drawn.
    """

    threshold: float = 0.5
    classes: tuple[str, ...] = ()
    masks: bool = True


@dataclasses.dataclass(frozen=True)
class Kept:
    """Detections in little memory: masks as run lengths, pixels left in their file.

    Attributes:
        found: without masks.
        codes: run lengths of N masks as COCO has them; None: the model has no masks.
    """

    found: Detections
    codes: tuple[dict[str, Any], ...] | None

    @classmethod
    def of(cls, found: Detections) -> Kept:
        """Keep some detections."""
        codes = None
        if found.masks is not None:
            codes = tuple(entry["segmentation"] for entry in found.to_coco())
        source = dataclasses.replace(found.source, pixels=None)
        return cls(dataclasses.replace(found, masks=None, source=source), codes)

    def chosen(self, look: Look) -> Kept:
        """Those that the controls let through."""
        wanted = self.found.scores >= look.threshold
        if look.classes:
            wanted &= np.array([name in look.classes for name in self.found.names], dtype=bool)
        codes = None
        if self.codes is not None:
            codes = tuple(self.codes[i] for i in np.flatnonzero(wanted))
        return Kept(self.found[wanted], codes)

    def with_masks(self) -> Detections:
        """As they were found."""
        if self.codes is None:
            return self.found
        masks = np.zeros((0, *self.found.image_size), dtype=bool)
        if self.codes:
            masks = mask_api.decode(list(self.codes)).transpose(2, 0, 1).astype(bool)
        return dataclasses.replace(self.found, masks=masks)


def in_words(found: Detections) -> str:
    """How many of which class, the most frequent one first."""
    counts = Counter(found.names).most_common()
    return ", ".join(f"{number} {name}" for name, number in counts) or "nothing found"


def table(found: Detections) -> list[list[Any]]:
    """Rows for :data:`TABLE_COLUMNS`; lengths in pixels, best score first."""
    rows = zip(found.names, found.scores.tolist(), found.boxes.tolist())
    return [
        [number, name, round(score, 3), *(round(side) for side in (x0, y0, x1 - x0, y1 - y0))]
        for number, (name, score, (x0, y0, x1, y1)) in enumerate(rows, start=1)
    ]


def coco_document(pictures: Sequence[Kept], path: Path) -> dict[str, Any]:
    """A COCO data set of what was found, as annotation tools and ``COCO()`` take it.

    Args:
        pictures: one image; or frames of a video, whose numbers are the images' ids.
        path: of the image or the video.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for kept in pictures:
        found = kept.found
        image_id = found.source.frame if found.source.frame is not None else 1
        height, width = found.image_size
        image = {"id": image_id, "file_name": path.name, "width": width, "height": height}
        images.append(image if found.source.time is None else {**image, "time": found.source.time})
        codes = kept.codes if kept.codes is not None else [None] * len(found)
        for entry, code in zip(found.to_coco(image_id), codes):
            if code is not None:
                entry["segmentation"] = code
            annotations.append(coco_annotation(len(annotations) + 1, image_id, entry))
    first = pictures[0].found
    categories = [
        {"id": number, "name": name} for number, name in zip(first.category_ids, first.class_names)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}
