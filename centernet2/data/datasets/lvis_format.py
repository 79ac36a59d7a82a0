"""Registration of any data set in LVIS v1's format, whatever its categories are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.lvis import load_lvis_json

from centernet2.data.datasets.checked import load_checked
from centernet2.data.datasets.coco_format import require_file
from centernet2.data.lvis_compat import repair_lvis
from centernet2.errors import UserError

__all__ = ["register_lvis_format"]


def register_lvis_format(
    name: str,
    json_file: str,
    image_root: str,
    thing_classes: list[str] | None = None,
    prepare: Callable[[], object] | None = None,
) -> None:
    """Register a data set in LVIS v1's format; a name that is registered already stays as it is.

    Detectron2's own function knows the official categories only. Here they are those of the
    file, whose ids must be 1 to N. Loading sets ``thing_classes`` and ``class_image_count`` (the
    images of each category, for federated losses) in the metadata.

    Args:
        name: to register.
        json_file: annotation file.
        image_root: folder that the last two parts of each image's ``coco_url`` are relative to.
        thing_classes: names by id, where they are known before the file is read.
        prepare: called before the file is read, to make it. Where it sets ``class_image_count``
            too, the categories of the file are not read for themselves.
    """
    if name in DatasetCatalog:
        return
    # Detectron2 appends the split's folder to this text without a separator.
    image_root = os.path.join(image_root, "")

    def load() -> list[dict[str, Any]]:
        if prepare is not None:
            prepare()
        require_file(name, json_file)
        repair_lvis()
        return load_checked(name, json_file, lambda: _records(name, json_file, image_root))

    DatasetCatalog.register(name, load)
    metadata = MetadataCatalog.get(name)
    metadata.set(json_file=json_file, image_root=image_root, evaluator_type="lvis")
    if thing_classes is not None:
        metadata.set(thing_classes=thing_classes)


def _records(name: str, json_file: str, image_root: str) -> list[dict[str, Any]]:
    known = MetadataCatalog.get(name).as_dict()
    if not {"thing_classes", "class_image_count"} <= known.keys():
        MetadataCatalog.get(name).set(**_category_metadata(json_file))
    records: list[dict[str, Any]] = load_lvis_json(json_file, image_root)
    return records


def _category_metadata(json_file: str) -> dict[str, Any]:
    with open(json_file, encoding="utf-8") as file:
        categories = sorted(json.load(file)["categories"], key=lambda category: category["id"])
    ids = [category["id"] for category in categories]
    if ids != list(range(1, len(ids) + 1)):
        raise UserError(
            f"{json_file}: category ids must be 1 to {len(ids)} without gaps, as LVIS has them"
        )
    return {
        "thing_classes": [category["synonyms"][0] for category in categories],
        "class_image_count": [
            {"id": category["id"], "image_count": category["image_count"]}
            for category in categories
        ],
    }
