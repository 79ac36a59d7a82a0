"""LabelMe's JSON files: one for each image, in any tree of folders."""

from __future__ import annotations

import base64
import binascii
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from centernet2.data.converters.images import agreed_size, find_image, relative_name
from centernet2.data.converters.labelme_shapes import MASKED, REGIONS, Shape, geometry, read_shape
from centernet2.data.converters.splits import files_of_split
from centernet2.data.json_file import read_json
from centernet2.errors import UserError

__all__ = ["convert_labelme", "is_labelme"]

logger = logging.getLogger(__name__)

_NO_OBJECTS = ("__ignore__", "_background_")  # of the list of labels that LabelMe's scripts take


def convert_labelme(
    folder: str | os.PathLike[str], split: str, embedded: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Read a split of a data set labelled with LabelMe.

    Polygons, rectangles, circles and masks become objects; those of an image that share label and
    ``group_id`` become one. Rectangles alone have boxes only, beside other shapes an outline too.
    Lines, points and shapes without an area are left out, with a warning that counts them.

    Args:
        folder: searched for JSON files, whose images lie where ``imagePath`` says or beside them.
        split: see :func:`~centernet2.data.converters.splits.files_of_split`.
        embedded: folder in which images are written that are only in a JSON file (``imageData``).

    Returns:
        COCO's format: the classes of all splits by name, sizes and shapes of the upright image, cut
        off at its edge, file names relative to ``folder``.

    Raises:
        UserError: naming the file of a mistake.
    """
    root = Path(folder)
    files: dict[Path, dict[str, Any]] = {}
    for path in sorted(root.rglob("*.json")):
        data = read_json(path)
        if is_labelme(data):
            files[path] = data
    if not files:
        raise UserError(f"{root} has no JSON files of LabelMe, which have a list 'shapes'.")
    shapes = {path: list(_shapes(path, data)) for path, data in files.items()}
    used = [shape for found in shapes.values() for shape in found if not _excuse(shape)]
    names = sorted({shape.label for shape in used})
    classes = {name: number for number, name in enumerate(names, start=1)}
    masks = any(shape.kind in MASKED for shape in used)
    skipped: Counter[str] = Counter()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for path in files_of_split(root, split, files):
        place = _image(root, path, files[path], Path(embedded) if embedded else None)
        width, height = agreed_size(place, _size(path, files[path]), path)
        name = relative_name(root, place)
        images.append({"id": len(images) + 1, "file_name": name, "width": width, "height": height})
        skipped.update(excuse for shape in shapes[path] if (excuse := _excuse(shape)))
        for parts in _objects(shapes[path]):
            region = geometry(parts, width, height, masks)
            if region is None:
                skipped["shape without an area in its image"] += 1
                continue
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": classes[parts[0].label],
                    "iscrowd": 0,
                    **region,
                }
            )
    if skipped:
        counts = ", ".join(f"{number} x {kind}" for kind, number in sorted(skipped.items()))
        logger.warning("%s: left out, as they are no objects: %s.", root, counts)
    categories = [{"id": number, "name": name} for name, number in classes.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def is_labelme(data: Any) -> bool:
    """Whether the value of a JSON file is LabelMe's."""
    return isinstance(data, dict) and isinstance(data.get("shapes"), list) and "imagePath" in data


def _shapes(path: Path, data: dict[str, Any]) -> Iterator[Shape]:
    for number, entry in enumerate(data["shapes"], start=1):
        yield read_shape(f"{path}: shape {number}", entry)


def _excuse(shape: Shape) -> str:
    """Why a shape is no object; empty where it is one."""
    if shape.label in _NO_OBJECTS:
        return f"label {shape.label}"
    return "" if shape.kind in REGIONS else shape.kind


def _objects(shapes: list[Shape]) -> Iterable[list[Shape]]:
    """The shapes of an image, those of one object together, in the order of its first."""
    objects: dict[Any, list[Shape]] = {}
    for number, shape in enumerate(shapes):
        if not _excuse(shape):
            key = number if shape.group is None else (shape.label, shape.group)
            objects.setdefault(key, []).append(shape)
    return objects.values()


def _size(path: Path, data: dict[str, Any]) -> tuple[int, int] | None:
    width, height = data.get("imageWidth"), data.get("imageHeight")
    if width is None or height is None:  # LabelMe 3 did not write them
        return None
    if type(width) is not int or type(height) is not int:
        raise UserError(
            f"{path}: 'imageWidth' and 'imageHeight' are {width!r} and {height!r}, not whole "
            "numbers."
        )
    return width, height


def _image(root: Path, path: Path, data: dict[str, Any], embedded: Path | None) -> Path:
    name = data["imagePath"]
    if not isinstance(name, str) or not name:
        raise UserError(f"{path}: 'imagePath' is {name!r}; it must name the image.")
    last = name.replace("\\", "/").split("/")[-1]
    found = find_image(root, [path.parent], name, path) or find_image(
        root, [path.parent], last, path
    )
    if found is not None:
        return found
    content = data.get("imageData")
    if not content:
        raise UserError(f"{path}: its image {name} is not there, nor {last} beside it.")
    if embedded is None:
        raise UserError(f"{path}: its image {name} is only in its 'imageData'; save it beside it.")
    target = embedded / path.relative_to(root).with_name(f"{path.stem}-{last}")
    try:
        pixels = base64.b64decode(content, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise UserError(f"{path}: its 'imageData' is not in base64: {error}.") from error
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(pixels)
    except OSError as error:
        raise UserError(f"{path}: its image cannot be written: {error}.") from error
    return target
