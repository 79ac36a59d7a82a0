"""The images that annotation files name."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from centernet2.data.upright import upright_size
from centernet2.errors import UserError

__all__ = ["agreed_size", "find_image", "image_size", "one_image_folder", "relative_name"]


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image in pixels, turned by its EXIF tag; its pixels are not decoded.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            return upright_size(image)
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files
        unknown = isinstance(error, UnidentifiedImageError)  # whose text is the path again
        reason = "its format is unknown" if unknown else error
        raise UserError(f"{path} is not a readable image: {reason}.") from error


def agreed_size(path: Path, said: tuple[int, int] | None, where: Path) -> tuple[int, int]:
    """The size of an image, which must be the one that it was labelled in.

    Args:
        path: of the image.
        said: width and height that the annotation file tells; ``None`` if it tells none.
        where: the annotation file.

    Raises:
        UserError: the image cannot be read, or has another size.
    """
    found = image_size(path)
    if said is None or said == found:
        return found
    cure = "label the image as it is, or put back the one that was labelled"
    if said == found[::-1]:
        cure = f"its EXIF tag may turn it, or {cure}"
    raise UserError(
        f"{where} was made for an image of {said[0]} x {said[1]} pixels, but {path} has "
        f"{found[0]} x {found[1]}: {cure}."
    )


def find_image(root: Path, places: list[Path], name: str, where: Path) -> Path | None:
    """The image of an annotation file; ``None`` if it is in none of the places.

    Names are tried in both Unicode forms of accents, as archives made on a Mac change them.

    Args:
        root: folder of the data set.
        places: folders that ``name`` may be relative to, the likeliest first.
        name: with either kind of slash.
        where: the annotation file.

    Raises:
        UserError: the name leads out of ``root``.
    """
    name = name.replace("\\", "/")
    top = os.path.abspath(root)
    inside = []
    for place in places:
        path = os.path.abspath(place / name)
        if Path(path).is_relative_to(top) and "\0" not in name:
            inside.append(path)
    if not inside:
        raise UserError(
            f"{where}: its image {name!r} lies outside of {root}; move it into the folder and name "
            "it relative to the annotation file."
        )
    for path in inside:
        for form in (path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD"))):
            if os.path.isfile(form):
                return Path(form)
    return None


def relative_name(root: Path, path: Path) -> str:
    """``path`` as it is named from ``root``, with forward slashes."""
    return Path(os.path.relpath(path, root)).as_posix()


def one_image_folder(data: dict[str, Any], folder: Path) -> Path:
    """The folder that has all images; their names are made relative to it, in place.

    It is another than ``folder`` where a description names images elsewhere, or where images had to
    be taken out of annotation files: no name of a data set should lead out of its folder.

    Args:
        data: a converted data set, in COCO's format.
        folder: that its file names are relative to.
    """
    names = [image["file_name"] for image in data["images"]]
    if not any(name.startswith("../") for name in names):
        return folder
    paths = [os.path.abspath(folder / name) for name in names]
    shared = Path(os.path.commonpath([os.path.dirname(path) for path in paths]))
    for image, path in zip(data["images"], paths):
        image["file_name"] = relative_name(shared, Path(path))
    return shared
