"""Detections as COCO results, written while they come."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

from detectron2.data import Metadata
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances

from centernet2.engine.storage import refusal_told

__all__ = ["ResultsWriter", "category_ids", "coco_results", "image_ids"]


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


def image_ids(images: Sequence[PurePath]) -> list[int]:
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


def coco_results(
    predictions: Instances, image_id: int, categories: Sequence[int]
) -> list[dict[str, Any]]:
    """The detections of one image as entries of COCO results.

    Args:
        predictions: on the CPU, as a Detectron2 model returns them.
        image_id: of the image.
        categories: category id of each class (:func:`category_ids`).

    Returns:
        For each detection ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in pixels),
        ``score`` and, with masks, ``segmentation`` (RLE), with joints ``keypoints`` (x, y, score,
        x, ...; whole coordinates are middles of pixels); with ``track_ids`` also ``track_id``
        where it is not -1.
    """
    if predictions.has("pred_keypoints"):
        # Detectron2 shifts them in place, by the half pixel that COCO's differ by
        predictions = Instances(predictions.image_size, **predictions.get_fields())
        predictions.pred_keypoints = predictions.pred_keypoints.clone()
    entries: list[dict[str, Any]] = instances_to_coco_json(predictions, image_id)
    for entry in entries:
        entry["category_id"] = categories[entry["category_id"]]
    if predictions.has("track_ids"):
        for entry, number in zip(entries, predictions.track_ids.tolist()):
            if number >= 0:
                entry["track_id"] = number
    return entries


class ResultsWriter:
    """Writes COCO results to a JSON file, image by image; a context manager.

    The file is one list that ``pycocotools.coco.COCO.loadRes`` takes: the entries of
    :func:`coco_results`, each with its ``file_name``. Leaving the context completes the list, after
    an error too.

    Args:
        path: of the file; its folder is made.
        categories: category id of each class (:func:`category_ids`).

    Raises:
        UserError: the file cannot be written; later too, once the disk is full for example.
    """

    def __init__(self, path: Path, categories: Sequence[int]) -> None:
        self._path = path
        self._categories = categories
        with refusal_told(path):
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
        for entry in coco_results(predictions, image_id, self._categories):
            self.write_entry({**entry, "file_name": file_name, **extra})

    def write_entry(self, entry: Mapping[str, Any]) -> None:
        """Append one detection as it is."""
        with refusal_told(self._path):
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
        with refusal_told(self._path), self._file:  # which is closed whatever happens
            self._file.write("[]\n" if self._separator == "[\n" else "\n]\n")
