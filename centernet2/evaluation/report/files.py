"""Annotations and results in COCO's format, read and checked."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from centernet2.data.json_file import read_json
from centernet2.errors import UserError

__all__ = ["load_files"]


def load_files(results: Path, annotations: Path) -> tuple[COCO, list[dict[str, Any]]]:
    """Read ground truth and detections.

    Args:
        results: COCO results list: ``image_id``, ``category_id`` (the data set's), ``bbox`` (x, y,
            width, height in pixels), ``score``.
        annotations: COCO annotation file.

    Returns:
        The indexed ground truth, and the detections of categories that it has.

    Raises:
        UserError: a file is missing or in another format, or detections are of unknown images.
    """
    truth, found = read_json(annotations), read_json(results)
    if not isinstance(truth, dict) or not {"images", "categories"} <= truth.keys():
        raise UserError(f"{annotations} is no COCO annotation file: it lacks images or categories.")
    if any("neg_category_ids" in image for image in truth["images"]):
        raise UserError(
            f"{annotations} is in LVIS's format, whose federated rules this report does not know: "
            "use the figures that the evaluation prints."
        )
    wanted = {"image_id", "category_id", "bbox", "score"}
    if not isinstance(found, list) or not all(
        isinstance(d, dict) and wanted <= d.keys() for d in found
    ):
        raise UserError(
            f"{results} is no COCO results file: it must be a list of objects with image_id, "
            "category_id, bbox and score."
        )
    images = {image["id"] for image in truth["images"]}
    strangers = {d["image_id"] for d in found} - images
    if strangers:
        raise UserError(
            f"{results} has detections of {len(strangers)} images that {annotations} does not "
            f"list, such as image_id {next(iter(strangers))}: these files belong to different sets."
        )
    truth.setdefault("info", {})
    for i, annotation in enumerate(truth.setdefault("annotations", []), start=1):
        if "bbox" not in annotation:
            raise UserError(f"{annotations} has an annotation without a bbox: entry {i}.")
        annotation.setdefault("iscrowd", 0)
        annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
        # pycocotools takes the id 0 for "unmatched"; nothing here refers to annotations by id
        annotation["id"] = i
    coco = COCO()
    coco.dataset = truth
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco, [d for d in found if d["category_id"] in coco.cats]
