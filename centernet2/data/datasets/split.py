"""Splitting a data set in COCO's format into training and validation images."""

from __future__ import annotations

import hashlib
from typing import Any

from centernet2.errors import UserError

__all__ = ["split_coco"]


def split_coco(data: dict[str, Any], fraction: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Share the images out, each with its annotations, by a hash of its file name.

    The same names give the same split whatever their order and ids, and images that are added
    later leave most of the others where they are.

    Args:
        data: a checked file in COCO's format.
        fraction: of the images for validation, above 0 and below 1.

    Returns:
        Training and validation data, neither without images. Validation data have ``iscrowd`` and,
        where there is no mask to measure it on, ``area``, which COCO's evaluation reads.

    Raises:
        UserError: there is only one image.
    """
    images = data["images"]
    if len(images) < 2:
        raise UserError("one image cannot be split into training and validation images")
    number = min(max(1, round(len(images) * fraction)), len(images) - 1)
    order = sorted(images, key=lambda image: _hash(image["file_name"]))
    chosen = {image["id"] for image in order[:number]}
    return _part(data, lambda image: image not in chosen), _completed(
        _part(data, chosen.__contains__)
    )


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()


def _part(data: dict[str, Any], keep: Any) -> dict[str, Any]:
    return {
        **data,
        "images": [image for image in data["images"] if keep(image["id"])],
        "annotations": [entry for entry in data["annotations"] if keep(entry["image_id"])],
    }


def _completed(data: dict[str, Any]) -> dict[str, Any]:
    annotations = []
    for entry in data["annotations"]:
        added: dict[str, Any] = {"iscrowd": 0}
        if not entry.get("segmentation"):
            added["area"] = entry["bbox"][2] * entry["bbox"][3]
        annotations.append({**added, **entry})
    return {**data, "annotations": annotations}
