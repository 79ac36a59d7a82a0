"""Detections as COCO results, written while they come."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from detectron2.data import Metadata
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances

__all__ = ["ResultsWriter", "category_ids", "image_ids"]


def category_ids(metadata: Metadata, num_classes: int) -> list[int]:
    """Category id of each class of a model.

    Args:
        metadata: of the data set it was trained on.
        num_classes: of the model.

    Returns:
        The ids of that data set's annotation file where ``metadata`` has them, else 1, 2, 3...
    """
    ids: Mapping[int, int] = metadata.get("thing_dataset_id_to_contiguous_id", {})
    classes = {contiguous: dataset for dataset, contiguous in ids.items()}
    return [classes.get(c, c + 1) for c in range(num_classes)]


def image_ids(images: Sequence[Path]) -> list[int]:
    """Ids for images: the numbers that are their names, else 1, 2, 3...

    COCO names its images by their ids ("000000000139.jpg"), so results for a folder of such
    images can be evaluated against its annotation file as they are.
    """
    stems = [image.stem for image in images]
    if all(stem.isascii() and stem.isdigit() for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(images) + 1))


class ResultsWriter:
    """Writes COCO results to a JSON file, image by image; a context manager.

    The file is one list that ``pycocotools.coco.COCO.loadRes`` takes. An entry has ``image_id``,
    ``file_name``, ``category_id``, ``bbox`` (x, y, width, height in pixels), ``score`` and, with
    masks, ``segmentation`` (RLE). Leaving the context completes the list, after an error too.

    Args:
        path: of the file; its folder is made.
        categories: category id of each class (:func:`category_ids`).
    """

    def __init__(self, path: Path, categories: Sequence[int]) -> None:
        self._categories = categories
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")
        self._separator = "[\n"

    def write(self, predictions: Instances, image_id: int, file_name: str, **extra: float) -> None:
        """Append the detections of one image.

        Args:
            predictions: on the CPU, as a Detectron2 model returns them.
            image_id: of the image, or the number of a video's frame.
            file_name: of the image or the video.
            extra: further fields of each entry, such as a frame's time.
        """
        entry: dict[str, Any]
        for entry in instances_to_coco_json(predictions, image_id):
            entry["category_id"] = self._categories[entry["category_id"]]
            entry["file_name"] = file_name
            entry.update(extra)
            self._file.write(self._separator + json.dumps(entry))
            self._separator = ",\n"

    def __enter__(self) -> ResultsWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.write("[]\n" if self._separator == "[\n" else "\n]\n")
        self._file.close()
