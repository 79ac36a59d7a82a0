"""How many training images show each class, for the losses that depend on it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from centernet2.errors import UserError

__all__ = ["DEFAULT_CAT_FREQ_PATH", "TrainingImageCounts", "class_image_counts"]

# What MODEL.ROI_BOX_HEAD.CAT_FREQ_PATH is where nobody sets it
DEFAULT_CAT_FREQ_PATH = "datasets/lvis/lvis_v1_train_cat_info.json"


class TrainingImageCounts:
    """:func:`class_image_counts` of a config's training data, found at the first call and kept."""

    def __init__(self, cfg: Any) -> None:
        """
        Args:
            cfg: its ``DATASETS.TRAIN``, ``MODEL.ROI_HEADS.NUM_CLASSES`` and
                ``MODEL.ROI_BOX_HEAD.CAT_FREQ_PATH`` are read.
        """
        self._dataset_names = tuple(cfg.DATASETS.TRAIN)
        self._num_classes: int = cfg.MODEL.ROI_HEADS.NUM_CLASSES
        self._cat_freq_path: str = cfg.MODEL.ROI_BOX_HEAD.CAT_FREQ_PATH
        self._counts: torch.Tensor | None = None

    def __call__(self) -> torch.Tensor:
        """``(C,)`` float32 on the CPU."""
        if self._counts is None:
            self._counts = class_image_counts(
                self._dataset_names, self._num_classes, self._cat_freq_path
            )
        return self._counts


def class_image_counts(
    dataset_names: Sequence[str], num_classes: int, cat_freq_path: str = ""
) -> torch.Tensor:
    """Number of images with each class.

    Taken from the file ``cat_freq_path`` (a JSON list of ``{"id", "image_count"}``), else from
    the ``class_image_count`` of the data sets' metadata, else counted in their records, where
    crowds do not count.

    Args:
        dataset_names: registered training sets; their counts are added.
        num_classes: ``C``.
        cat_freq_path: may be empty. :data:`DEFAULT_CAT_FREQ_PATH`, LVIS v1's file, is only
            looked at if all sets are LVIS v1's, and may be absent even then.

    Returns:
        ``(C,)`` float32.

    Raises:
        UserError: if the counts are of another number of classes, or the file is absent or holds
            something else.
    """
    path = _frequency_file(dataset_names, cat_freq_path)
    if path is not None:
        parts = [(str(path), _of_file(path))]
    else:
        parts = [(name, _of_dataset(name, num_classes)) for name in dataset_names]
    for source, counts in parts:
        if len(counts) != num_classes:
            raise UserError(
                f"The class frequencies of {source} are for {len(counts)} classes, "
                f"but MODEL.ROI_HEADS.NUM_CLASSES is {num_classes}; set it to the number of "
                "classes of the training data."
            )
    return torch.stack([counts for _, counts in parts]).sum(dim=0)


def _frequency_file(dataset_names: Sequence[str], cat_freq_path: str) -> Path | None:
    if not cat_freq_path:
        return None
    path = Path(cat_freq_path)
    if cat_freq_path == DEFAULT_CAT_FREQ_PATH:
        # Nobody need have asked for it: other data may well have as many classes as LVIS
        is_lvis = all(name.startswith("lvis_v1") for name in dataset_names)
        return path if is_lvis and path.is_file() else None
    if not path.is_file():
        raise UserError(
            f"There is no file {path}, which MODEL.ROI_BOX_HEAD.CAT_FREQ_PATH names; correct the "
            'path or set it to "" to count in the training data.'
        )
    return path


def _of_file(path: Path) -> torch.Tensor:
    try:
        return _from_records(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}, which MODEL.ROI_BOX_HEAD.CAT_FREQ_PATH names, is not a JSON list of "
            'objects with the numbers "id" and "image_count".'
        ) from error


def _of_dataset(name: str, num_classes: int) -> torch.Tensor:
    if not hasattr(MetadataCatalog.get(name), "class_image_count"):
        images = DatasetCatalog.get(name)
        # Some data sets set their metadata while they are loaded
        if not hasattr(MetadataCatalog.get(name), "class_image_count"):
            return _of_images(images, num_classes)
    return _from_records(MetadataCatalog.get(name).class_image_count)


def _of_images(images: Sequence[dict[str, Any]], num_classes: int) -> torch.Tensor:
    counts = Counter(
        category
        for image in images
        for category in {
            a["category_id"] for a in image.get("annotations", ()) if not a.get("iscrowd")
        }
    )
    # Longer if there are more classes than there should be, which the caller says
    length = max(num_classes, 1 + max(counts, default=-1))
    return torch.tensor([float(counts[i]) for i in range(length)])


def _from_records(records: Sequence[dict[str, int]]) -> torch.Tensor:
    ordered = sorted(records, key=lambda r: r["id"])
    return torch.tensor([float(r["image_count"]) for r in ordered])
