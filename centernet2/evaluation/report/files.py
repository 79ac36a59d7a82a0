"""Annotations and results in COCO's or LVIS's format, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from centernet2.data.json_file import read_json
from centernet2.errors import UserError
from centernet2.evaluation.report.entries import check_detections, check_truth, is_id

__all__ = ["Detections", "load_files"]


@dataclass
class Detections:
    """A data set, and what was found in it.

    Attributes:
        truth: the annotation file's content; every annotation has "iscrowd", "area" and an "id"
            above 0 (not the file's).
        found: the results file's content.
        categories: those of ``truth`` by rising id; classes are indices into it.
        masks: whether every object and every detection has a mask, and there are detections.
        federated: whether LVIS's rules hold.
    """

    truth: dict[str, Any]
    found: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    masks: bool
    federated: bool

    @property
    def names(self) -> list[str]:
        """Names of the classes."""
        return [category["name"] for category in self.categories]


def load_files(results: Path, annotations: Path) -> Detections:
    """Read ground truth and detections.

    Args:
        results: COCO results list: ``image_id``, ``category_id`` (the data set's), ``bbox`` (x, y,
            width, height in pixels), ``score``, optionally ``segmentation`` (run lengths).
        annotations: COCO or LVIS annotation file.

    Raises:
        UserError: a file is missing or in another format, or an entry is malformed or of an image
            or a category that is not listed.
    """
    truth, found = read_json(annotations), read_json(results)
    if isinstance(truth, dict):
        truth.setdefault("annotations", [])
    for key in ("images", "categories", "annotations"):
        if not isinstance(truth, dict) or not isinstance(truth.get(key), list):
            raise UserError(f"{annotations} is no COCO annotation file: it has no list '{key}'.")
    if not isinstance(found, list):
        raise UserError(
            f"{results} is no COCO results file: it must be a list of objects with image_id, "
            "category_id, bbox and score."
        )
    check_truth(annotations, truth)
    check_detections(results, found, annotations, truth)
    truth.setdefault("info", {})
    for i, annotation in enumerate(truth["annotations"], start=1):
        annotation.setdefault("iscrowd", 0)
        if annotation.get("area") is None:
            annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
        # pycocotools takes the id 0 for "unmatched"; nothing here refers to annotations by id
        annotation["id"] = i
    categories = sorted(truth["categories"], key=lambda category: category["id"])
    return Detections(
        truth=truth,
        found=found,
        categories=categories,
        masks=bool(found)
        and all(o.get("segmentation") for o in truth["annotations"])
        and all("segmentation" in d for d in found),
        federated=_is_federated(annotations, truth),
    )


def _is_federated(file: Path, truth: dict[str, Any]) -> bool:
    if all("neg_category_ids" not in image for image in truth["images"]):
        return False
    for number, image in enumerate(truth["images"], start=1):
        for key, default in (("neg_category_ids", None), ("not_exhaustive_category_ids", [])):
            ids = image.get(key, default)
            if not isinstance(ids, list) or not all(map(is_id, ids)):
                raise UserError(
                    f"{file}: image number {number} has no list of categories '{key}', which "
                    "LVIS's rules need of every image."
                )
    for category in truth["categories"]:
        if category.get("frequency") not in ("r", "c", "f"):
            raise UserError(
                f"{file}: category {category['id']} has no 'frequency' (r, c or f), which LVIS's "
                "figures need."
            )
    return True
