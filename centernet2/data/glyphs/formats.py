"""Annotation files of rendered scenes: COCO's, and LVIS v1's with federated labels."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import numpy as np

from centernet2.data.glyphs.catalog import Category, categories
from centernet2.data.glyphs.plan import ImagePlan
from centernet2.data.glyphs.polygons import mask_to_polygons
from centernet2.data.glyphs.variants import GlyphConfig

__all__ = ["ImageRecord", "class_image_count", "coco_file", "label_scene", "lvis_file"]

# LVIS: categories in at most 10 training images are rare, in at most 100 common.
_RARE, _COMMON = 10, 100


@dataclasses.dataclass(frozen=True)
class ImageRecord:
    """The labels of one image: entries of the annotation files, still without ids."""

    file_name: str
    height: int
    width: int
    annotations: list[dict[str, Any]]
    negatives: list[int]
    not_exhaustive: list[int]


def label_scene(
    file_name: str, shape: tuple[int, ...], plan: ImagePlan, masks: dict[int, np.ndarray]
) -> ImageRecord:
    """Turn visible masks into labels.

    Args:
        file_name: of the image, within its split's folder.
        shape: of the image: (H, W, ...).
        plan: what the image was asked to show.
        masks: bool (H, W) by index into ``plan.objects``, as a scene has them.
    """
    annotations = [
        _label(plan.objects[index].category + 1, mask)
        for index, mask in masks.items()
        if plan.objects[index].labelled
    ]
    labelled = {annotation["category_id"] for annotation in annotations}
    return ImageRecord(
        file_name,
        int(shape[0]),
        int(shape[1]),
        annotations,
        [category + 1 for category in plan.negatives],
        # Where even the one labelled object found no room, nothing is known of the category.
        [category + 1 for category in plan.not_exhaustive if category + 1 in labelled],
    )


def coco_file(
    config: GlyphConfig, records: list[ImageRecord], first_image_id: int
) -> dict[str, Any]:
    """The content of a COCO annotation file."""
    return {
        "info": {"description": f"{config.name}: glyphs on textured grounds"},
        "licenses": [],
        "categories": [
            {"id": category.id, "name": category.name, "supercategory": "glyph"}
            for category in categories(config.num_categories)
        ],
        "images": [
            {
                "id": image_id,
                "file_name": record.file_name,
                "height": record.height,
                "width": record.width,
            }
            for image_id, record in enumerate(records, first_image_id)
        ],
        "annotations": _annotations(records, first_image_id, {"iscrowd": 0}),
    }


def lvis_file(
    config: GlyphConfig,
    split: str,
    records: list[ImageRecord],
    first_image_id: int,
    training: list[ImageRecord],
) -> dict[str, Any]:
    """The content of an LVIS v1 annotation file.

    As in LVIS, the statistics of the categories are those of the training split in both files.
    """
    images = class_image_count(config, training)
    instances = collections.Counter(
        annotation["category_id"] for record in training for annotation in record.annotations
    )
    return {
        "info": {"description": f"{config.name}: glyphs on textured grounds"},
        "licenses": [],
        "categories": [
            _lvis_category(category, entry["image_count"], instances[category.id])
            for category, entry in zip(categories(config.num_categories), images)
        ],
        "images": [
            {
                "id": image_id,
                "file_name": f"{split}/{record.file_name}",
                # Readers of LVIS find an image by the last two parts of this address.
                "coco_url": f"{config.name}/{split}/{record.file_name}",
                "height": record.height,
                "width": record.width,
                "neg_category_ids": record.negatives,
                "not_exhaustive_category_ids": record.not_exhaustive,
            }
            for image_id, record in enumerate(records, first_image_id)
        ],
        "annotations": _annotations(records, first_image_id, {}),
    }


def class_image_count(config: GlyphConfig, records: list[ImageRecord]) -> list[dict[str, int]]:
    """Images in which each category is labelled: ``[{"id": ..., "image_count": ...}, ...]``."""
    counts = collections.Counter(
        category
        for record in records
        for category in {annotation["category_id"] for annotation in record.annotations}
    )
    return [
        {"id": category, "image_count": counts[category]}
        for category in range(1, config.num_categories + 1)
    ]


def _label(category_id: int, mask: np.ndarray) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    height, width = int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left
    window = mask[top : top + height, left : left + width]
    offset = np.array([left, top])
    return {
        "category_id": category_id,
        "bbox": [left, top, width, height],
        "area": int(window.sum()),
        "segmentation": [
            (np.reshape(polygon, (-1, 2)) + offset).ravel().tolist()
            for polygon in mask_to_polygons(window)
        ],
    }


def _annotations(
    records: list[ImageRecord], first_image_id: int, extra: dict[str, Any]
) -> list[dict[str, Any]]:
    labels = (
        (image_id, annotation)
        for image_id, record in enumerate(records, first_image_id)
        for annotation in record.annotations
    )
    return [
        {"id": number, "image_id": image_id, **annotation, **extra}
        for number, (image_id, annotation) in enumerate(labels, start=1)
    ]


def _lvis_category(category: Category, images: int, instances: int) -> dict[str, Any]:
    frequency = "r" if images <= _RARE else "c" if images <= _COMMON else "f"
    identifier = category.name.replace(" ", "_")
    return {
        "id": category.id,
        "name": identifier,
        "synonyms": [category.name],
        "synset": f"{identifier}.n.01",
        "def": f"the character {category.character} (U+{ord(category.character):04X})",
        "frequency": frequency,
        "image_count": images,
        "instance_count": instances,
    }
