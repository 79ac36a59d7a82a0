"""Small made-up data sets and detections in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from centernet2.evaluation.report.files import Detections, load_files

Record = dict[str, Any]


def make_truth(
    boxes: list[tuple[int, ...]], classes: tuple[str, ...] = ("a", "b"), images: int = 2
) -> Record:
    """Boxes are (image, class, x, y, w, h, crowd); class k has the id 10 k + 3."""
    return {
        "images": [
            {"id": i, "width": 100, "height": 100, "file_name": f"{i}.jpg"} for i in range(images)
        ],
        "categories": [{"id": 10 * k + 3, "name": n} for k, n in enumerate(classes)],
        "annotations": [
            {
                "id": i,
                "image_id": b[0],
                "category_id": 10 * b[1] + 3,
                "bbox": list(b[2:6]),
                "area": b[4] * b[5],
                "iscrowd": b[6],
            }
            for i, b in enumerate(boxes)
        ],
    }


def make_federated(truth: Record, negative: Record, unfinished: Record) -> Record:
    """By LVIS's rules: classes by image that are absent, or of which more may be there."""
    for image in truth["images"]:
        image["neg_category_ids"] = [10 * k + 3 for k in negative.get(image["id"], ())]
        image["not_exhaustive_category_ids"] = [10 * k + 3 for k in unfinished.get(image["id"], ())]
    for i, category in enumerate(truth["categories"]):
        category["frequency"] = "rcf"[i % 3]
    return truth


def detection(image: int, label: int, x: int, y: int, w: int, h: int, score: float) -> Record:
    box = [x, y, w, h]
    return {"image_id": image, "category_id": 10 * label + 3, "bbox": box, "score": score}


def polygon(box: list[float]) -> list[list[float]]:
    x, y, w, h = box
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def loaded(folder: Path, truth: Record, found: list[Record]) -> Detections:
    (folder / "gt.json").write_text(json.dumps(truth))
    (folder / "dt.json").write_text(json.dumps(found))
    return load_files(folder / "dt.json", folder / "gt.json")


def iou(a: list[float], b: list[float]) -> float:
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)
