"""How many training images show each class, for the losses that depend on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

__all__ = ["class_image_counts"]


def class_image_counts(
    dataset_names: Sequence[str], num_classes: int, cat_freq_path: str = ""
) -> torch.Tensor:
    """Number of images with each class.

    Taken from ``cat_freq_path`` if that file exists (a JSON list of ``{"id", "image_count"}``),
    else from the ``class_image_count`` of the data sets' metadata, else counted.

    Args:
        dataset_names: registered training sets; their counts are added.
        num_classes: ``C``.
        cat_freq_path: may be empty.

    Returns:
        ``(C,)`` float32.

    Raises:
        ValueError: if the counts are of another number of classes.
    """
    if cat_freq_path and Path(cat_freq_path).is_file():
        parts = {cat_freq_path: _from_records(json.loads(Path(cat_freq_path).read_text()))}
    else:
        parts = {name: _of_dataset(name, num_classes) for name in dataset_names}
    for source, counts in parts.items():
        if len(counts) != num_classes:
            raise ValueError(
                f"the class frequencies of {source} are for {len(counts)} classes, "
                f"but MODEL.ROI_HEADS.NUM_CLASSES is {num_classes}"
            )
    return torch.stack(list(parts.values())).sum(dim=0)


def _of_dataset(name: str, num_classes: int) -> torch.Tensor:
    records = MetadataCatalog.get(name).get("class_image_count")
    if records is not None:
        return _from_records(records)
    counts = torch.zeros(num_classes)
    for image in DatasetCatalog.get(name):
        present = {a["category_id"] for a in image.get("annotations", ()) if not a.get("iscrowd")}
        counts[sorted(present)] += 1
    return counts


def _from_records(records: Sequence[dict[str, int]]) -> torch.Tensor:
    ordered = sorted(records, key=lambda r: r["id"])
    return torch.tensor([float(r["image_count"]) for r in ordered])
