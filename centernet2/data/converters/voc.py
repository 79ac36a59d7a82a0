"""Pascal VOC's XML files: one for each image, below ``Annotations`` or anywhere in the folder."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from centernet2.data.converters.images import agreed_size, find_image, relative_name
from centernet2.data.converters.lines import read_lines
from centernet2.data.converters.splits import files_of_split
from centernet2.errors import UserError

__all__ = ["LISTS", "convert_voc"]

LISTS = "ImageSets/Main"  # folder of the lists of images of each split


def convert_voc(folder: str | os.PathLike[str], split: str) -> dict[str, Any]:
    """Read a split of a data set in Pascal VOC's format.

    Corners are taken as the distances in pixels that today's labelling tools write; VOC's own files
    of 2007 to 2012 count pixels from 1, which moves their boxes by a pixel at most.

    Args:
        folder: searched for XML files. Their images lie beside them or in ``JPEGImages``.
        split: reads the names in ``ImageSets/Main/<split>.txt``; without that folder see
            :func:`~centernet2.data.converters.splits.files_of_split`.

    Returns:
        COCO's format: the classes of all splits by name, objects marked "difficult" as crowds, so
        that they count neither as hits nor as misses, file names relative to ``folder``.

    Raises:
        UserError: naming the file of a mistake.
    """
    root = Path(folder)
    trees = {path: _parse(path) for path in sorted(root.rglob("*.xml"))}
    if not trees:
        raise UserError(f"{root} has no XML files.")
    found = {_text(path, o, "name") for path, tree in trees.items() for o in tree.iter("object")}
    classes = {name: number for number, name in enumerate(sorted(found), start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for path in _members(root, split, list(trees)):
        tree = trees[path]
        place = _image(root, path, _text(path, tree, "filename"))
        width, height = agreed_size(place, _size(path, tree), path)
        name = relative_name(root, place)
        images.append({"id": len(images) + 1, "file_name": name, "width": width, "height": height})
        for entry in tree.iter("object"):
            left, top, right, bottom = (
                _number(path, entry, f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")
            )
            if right <= left or bottom <= top:
                raise UserError(
                    f"{path}: the box {left:g}, {top:g}, {right:g}, {bottom:g} has no area."
                )
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": classes[_text(path, entry, "name")],
                    "iscrowd": int(entry.findtext("difficult", "0").strip() == "1"),
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                }
            )
    categories = [{"id": number, "name": name} for name, number in classes.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def _members(root: Path, split: str, files: list[Path]) -> list[Path]:
    listing = root / LISTS / f"{split}.txt"
    if not listing.parent.is_dir():
        return files_of_split(root, split, files)
    if not listing.is_file():
        raise UserError(f"There is no {listing} that lists the images of '{split}'.")
    stems = {path.stem: path for path in files}
    members = []
    for where, line in read_lines(listing):
        first = line.split()[0]  # some lists have a number after the name
        if line not in stems and first not in stems:
            raise UserError(f"{where}: there is no {first}.xml in {root}.")
        members.append(stems[line if line in stems else first])
    if not members:
        raise UserError(f"{listing} lists no images.")
    return members


def _parse(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise UserError(f"{path} is not valid XML: {error}.") from error


def _text(path: Path, node: ElementTree.Element, key: str) -> str:
    text = (node.findtext(key) or "").strip()
    if not text:
        raise UserError(f"{path}: <{node.tag}> has no <{key}>.")
    return text


def _number(path: Path, node: ElementTree.Element, key: str) -> float:
    text = _text(path, node, key)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{path}: <{key}> is '{text}', not a number.")
    return number


def _size(path: Path, tree: ElementTree.Element) -> tuple[int, int] | None:
    if tree.find("size") is None:
        return None
    width, height = (int(_number(path, tree, f"size/{key}")) for key in ("width", "height"))
    return (width, height) if width > 0 and height > 0 else None  # some tools write 0


def _image(root: Path, xml: Path, name: str) -> Path:
    places = [xml.parent, xml.parent.parent / "JPEGImages", root / "JPEGImages", root]
    path = find_image(root, places, name, xml)
    if path is None:
        raise UserError(f"{xml}: its image {name} is neither beside it nor in JPEGImages.")
    return path
