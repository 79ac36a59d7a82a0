"""What a COCO-format file holds, read with the checks that make later failures impossible."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from centernet2.data.coco_sections import missing_sections
from centernet2.data.datasets.keypoints import keypoint_metadata
from centernet2.data.json_file import read_json
from centernet2.errors import UserError

__all__ = ["CocoSummary", "read_coco", "summarize_coco"]


@dataclass(frozen=True)
class CocoSummary:
    """Contents of an annotation file."""

    classes: tuple[str, ...]
    """Names, in the order of their ids."""
    class_ids: tuple[int, ...]
    """Ids, ascending."""
    images: int
    """Number of images."""
    unlabelled: int
    """Images without any annotation."""
    objects: int
    """Annotations that are not of crowds."""
    without_mask: int
    """Those of ``objects`` that have boxes only."""
    first_without_mask: object
    """Id of the first of them; None if there is none."""
    has_rle: bool
    """Whether a mask of ``objects`` is run-length encoded."""
    keypoint_names: tuple[str, ...] = ()
    """Of the first category that has keypoints."""


def read_coco(json_file: str) -> dict[str, Any]:
    """Read an annotation file in COCO's format.

    Raises:
        UserError: it cannot be read, is not JSON, or lacks one of the lists ``images``,
            ``annotations`` and ``categories``.
    """
    data = read_json(json_file)
    missing = missing_sections(data)
    if missing:
        raise UserError(
            f"{json_file} is not in COCO's format: it has no list '{missing[0]}' "
            "(datasets/README.md shows the format)."
        )
    found: dict[str, Any] = data
    return found


def summarize_coco(json_file: str, image_root: str, evaluated: bool = False) -> CocoSummary:
    """Read an annotation file and check it and that all its images are there.

    Args:
        json_file: in COCO's format.
        image_root: folder that its file names are relative to.
        evaluated: whether to demand what COCO's evaluation reads and training does not.

    Raises:
        UserError: naming the file, the entry and what is wrong with it.
    """
    data = read_coco(json_file)
    names = _categories(json_file, data["categories"])
    image_ids = _images(json_file, image_root, data["images"])
    labelled, seen = set(), set()
    objects = without_mask = 0
    first_without_mask = None
    has_rle = False
    for number, annotation in enumerate(data["annotations"]):
        where = f"{json_file}: annotation number {number + 1} of the list"
        _check_annotation(where, annotation, names, evaluated)
        if annotation["id"] in seen:
            raise UserError(
                f"{json_file}: two annotations have the id {annotation['id']!r}; give each its own."
            )
        seen.add(annotation["id"])
        labelled.add(annotation["image_id"])
        if annotation.get("iscrowd", 0):
            continue
        objects += 1
        has_rle |= isinstance(annotation.get("segmentation"), dict)
        if not annotation.get("segmentation"):
            without_mask += 1
            if first_without_mask is None:
                first_without_mask = annotation["id"]
    if labelled - image_ids:
        raise UserError(
            f"{json_file}: annotations name image {next(iter(labelled - image_ids))!r}, which is "
            "not in its list of images; remove them or add the image."
        )
    return CocoSummary(
        classes=tuple(names[i] for i in sorted(names)),
        class_ids=tuple(sorted(names)),
        images=len(image_ids),
        unlabelled=len(image_ids - labelled),
        objects=objects,
        without_mask=without_mask,
        first_without_mask=first_without_mask,
        has_rle=has_rle,
        keypoint_names=tuple(keypoint_metadata(data["categories"]).get("keypoint_names", ())),
    )


def _categories(json_file: str, categories: Iterable[Any]) -> dict[int, str]:
    names: dict[int, str] = {}
    for category in categories:
        number, name = _field(category, "id"), _field(category, "name")
        if not isinstance(number, int) or not isinstance(name, str):
            raise UserError(
                f"{json_file}: the category {category!r} needs an integer 'id' and a text 'name'."
            )
        if number in names:
            raise UserError(
                f"{json_file}: the categories '{names[number]}' and '{name}' have the same id "
                f"{number}; give each its own."
            )
        names[number] = name
    if not names:
        raise UserError(f"{json_file} has no categories; list the classes with 'id' and 'name'.")
    return names


def _images(json_file: str, image_root: str, images: list[Any]) -> set[Any]:
    if not images:
        raise UserError(f"{json_file} has no images.")
    ids: set[Any] = set()
    missing = []
    for number, image in enumerate(images):
        for key, kind in (
            ("id", (int, str)),
            ("file_name", str),
            ("width", (int, float)),
            ("height", (int, float)),
        ):
            if not isinstance(_field(image, key), kind):
                raise UserError(
                    f"{json_file}: image number {number + 1} of the list has no valid '{key}' "
                    f"({_field(image, key)!r})."
                )
        if image["id"] in ids:
            raise UserError(
                f"{json_file}: two images have the id {image['id']!r}; give each its own."
            )
        ids.add(image["id"])
        if not os.path.isfile(os.path.join(image_root, image["file_name"])):
            missing.append(image["file_name"])
    if missing:
        raise UserError(
            f"{json_file}: {len(missing)} of {len(images)} images are not in {image_root}, the "
            f"first of them {missing[0]}; give the folder that the file names are relative to."
        )
    return ids


def _check_annotation(where: str, entry: Any, names: dict[int, str], evaluated: bool) -> None:
    kinds: dict[str, Any] = {"id": (int, str), "image_id": (int, str), "category_id": int}
    if evaluated:
        kinds.update({"area": (int, float), "iscrowd": int})
    for key, kind in kinds.items():
        if not isinstance(_field(entry, key), kind):
            raise UserError(f"{where} has no valid '{key}' ({_field(entry, key)!r}).")
    where = f"{where} (id {entry['id']!r})"
    if entry["category_id"] not in names:
        raise UserError(
            f"{where} has the category_id {entry['category_id']}, which is not in the list of "
            f"categories (ids {', '.join(map(str, sorted(names)[:5]))}"
            f"{', ...' if len(names) > 5 else ''})."
        )
    box = entry.get("bbox")
    numbers = isinstance(box, list) and all(isinstance(value, (int, float)) for value in box)
    if not numbers or len(box) != 4 or not all(math.isfinite(value) for value in box):
        raise UserError(f"{where} has the bbox {box!r}; it must be [x, y, width, height].")
    if not isinstance(entry.get("segmentation", []), (list, dict)):
        raise UserError(
            f"{where} has the segmentation {entry['segmentation']!r}; it must be a list of "
            "polygons or a run-length encoding."
        )
    if entry.get("ignore", 0):
        raise UserError(f"{where} has 'ignore', which is not read; write 'iscrowd': 1 instead.")


def _field(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, dict) else None
