"""YOLO's text files: a ``data.yaml``, folders of images, and a label file for each image."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shapely

from centernet2.data.converters.images import image_size, relative_name
from centernet2.data.converters.lines import read_lines
from centernet2.errors import UserError
from centernet2.yaml_file import parse_yaml

__all__ = ["convert_yolo", "description_file", "read_description"]

logger = logging.getLogger(__name__)

_ROUNDING = 1e-3  # of numbers that tools write; further out they are pixels
_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def convert_yolo(source: str | os.PathLike[str], split: str) -> dict[str, Any]:
    """Read a split of a data set in YOLO's format.

    Args:
        source: its description, or the folder of ``data.yaml``. The description has ``names`` and,
            for each split, a folder of images, a list of folders or a text file that lists images.
            Labels are found as YOLO finds them: ``labels`` in place of the last ``images`` in a
            path, and ``.txt`` as suffix.
        split: "train", "val" or "test".

    Returns:
        COCO's format: category ids are the class numbers plus 1, boxes and polygons in pixels of
        the upright image, those of no area left out with a warning, file names relative to the
        folder of the description.

    Raises:
        UserError: naming the file and line of a mistake.
    """
    file = description_file(source)
    root = file.parent
    description = read_description(file)
    names = _names(file, description)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    flat: list[str] = []
    for path in sorted(set(_images(file, description, split))):
        width, height = image_size(path)
        number = len(images) + 1
        name = relative_name(root, path)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for label, where, values in _labels(_label_file(path)):
            if label not in names:
                raise UserError(f"{where}: class {label} is not in the names of {file.name}.")
            region = _geometry(values, width, height)
            if region["area"] == 0:
                flat.append(where)
                continue
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "iscrowd": 0,
                    **region,
                }
            )
    if flat:
        logger.warning(
            "%s: %d objects of '%s' are left out, as they have no area, the first of them %s.",
            file,
            len(flat),
            split,
            flat[0],
        )
    if not images:
        raise UserError(f"{file}: there are no images in '{split}'.")
    categories = [{"id": label + 1, "name": names[label]} for label in sorted(names)]
    return {"images": images, "annotations": annotations, "categories": categories}


def description_file(source: str | os.PathLike[str]) -> Path:
    """``source`` itself, or ``data.yaml`` if it is a folder."""
    path = Path(source)
    return path / "data.yaml" if path.is_dir() else path


def read_description(path: Path) -> dict[str, Any]:
    """The mapping that a description holds.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        loaded = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}.") from error
    if not isinstance(loaded, dict):
        raise UserError(f"{path} must hold 'names' and the folders 'train' and 'val'.")
    return loaded


def _names(path: Path, description: dict[str, Any]) -> dict[int, str]:
    names = description.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or not all(isinstance(n, int) for n in names):
        raise UserError(
            f"{path}: 'names' must be a list of class names, or a mapping from numbers."
        )
    return {number: str(name) for number, name in names.items()}


def _images(file: Path, description: dict[str, Any], split: str) -> Iterator[Path]:
    root, entries = file.parent, description.get(split)
    if not entries:
        raise UserError(f"{file} has no '{split}'.")
    entries = entries if isinstance(entries, list) else [entries]
    if not all(isinstance(entry, str) for entry in entries):
        raise UserError(f"{file}: '{split}' is {entries[0]!r:.60}, not a folder or a list of them.")
    # "path" is often that of the machine which wrote the file, or relative to where YOLO is run:
    # the folder itself and the current one are tried as well.
    # Some exports write "../train/images" for a folder that lies beside data.yaml.
    base = str(description.get("path") or "")
    bases = [root / base, root, Path(base)]
    for entry in entries:
        places = [base / name for name in (entry, entry.removeprefix("../")) for base in bases]
        found = next((place for place in places if place.exists()), None)
        if found is None:
            raise UserError(f"{file}: '{split}' names {entry}, which is not there.")
        if found.is_dir():
            yield from (p for p in found.rglob("*") if p.suffix.lower() in _SUFFIXES)
            continue
        for where, line in read_lines(found):
            path = found.parent / line
            if not path.is_file():
                raise UserError(f"{where}: there is no image {path}.")
            yield path


def _label_file(image: Path) -> Path:
    parts = list(image.parts)
    places = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def _labels(path: Path) -> Iterator[tuple[int, str, list[float]]]:
    if not path.is_file():  # an image without objects
        return
    for where, line in read_lines(path):
        try:
            label, *values = (float(word) for word in line.split())
        except ValueError as error:
            raise UserError(f"{where}: '{line}' is not a row of numbers.") from error
        if len(values) != 4 and (len(values) < 6 or len(values) % 2):
            raise UserError(
                f"{where}: {len(values)} numbers after the class; a box has 4 (centre, width and "
                "height), a polygon 2 for each of 3 or more points."
            )
        if not all(-_ROUNDING <= v <= 1 + _ROUNDING for v in values) or not label.is_integer():
            raise UserError(
                f"{where}: '{line}' must be a class number and parts of the image's width "
                "and height, 0 to 1."
            )
        yield int(label), where, [min(max(value, 0.0), 1.0) for value in values]


def _geometry(values: list[float], width: int, height: int) -> dict[str, Any]:
    if len(values) == 4:
        x, y, w, h = (value * size for value, size in zip(values, (width, height) * 2))
        return {"bbox": [x - w / 2, y - h / 2, w, h], "area": w * h}
    xs, ys = [x * width for x in values[::2]], [y * height for y in values[1::2]]
    # make_valid: an outline that crosses itself has the area that a drawing of it would fill
    drawn = shapely.make_valid(shapely.Polygon(list(zip(xs, ys))))
    return {
        "bbox": [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)],
        "area": float(drawn.area),
        "segmentation": [[value for point in zip(xs, ys) for value in point]],
    }
