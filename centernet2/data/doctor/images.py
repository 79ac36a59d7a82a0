"""Checks of the image files: are they there, whole, and of the size that the JSON tells?"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from PIL import Image

from centernet2.data.doctor.findings import printable
from centernet2.data.doctor.tables import Dataset, image_file
from centernet2.data.upright import orientation, upright_size

__all__ = ["ImageState", "check_images", "difference_hash", "locate"]

_SIDE = 8  # of the perceptual hash's grid


@dataclass(frozen=True)
class ImageState:
    """What one file is like.

    Attributes:
        kind: what is wrong with it, empty where it is fine.
        detail: the same with values.
        size: width and height as Detectron2 sees it, EXIF rotation applied.
        rotated: whether its EXIF tag turns it.
        digest: SHA-256 of the file; empty where it was not read.
        look: 64-bit perceptual hash.
    """

    kind: str = ""
    detail: str = ""
    size: tuple[int, int] = (0, 0)
    rotated: bool = False
    digest: str = ""
    look: int = 0


def locate(root: Path, name: str, by_url: bool = False) -> tuple[Path, str]:
    """The file of an image, and the kind of mistake in its path (empty where there is none).

    Args:
        root: folder of the images.
        name: path of the image in it.
        by_url: the name is the end of one of LVIS's URLs, whose last folder, that of the split, may
            be ``root`` itself.
    """
    path, kind = _place(root, name)
    if kind == "image-missing" and by_url:
        return _place(root, name.split("/")[-1])
    return path, kind


def _place(root: Path, name: str) -> tuple[Path, str]:
    pure = PureWindowsPath(name)  # knows both kinds of slash, and drive letters
    if pure.drive or pure.root or ".." in pure.parts or PurePosixPath(name).is_absolute():
        return root / "invalid", "path-leaves-folder"
    try:
        path = root / name
        if not path.is_file():
            return path, "image-missing"
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, ValueError):  # a zero byte, a name that is too long, links in a circle
        return root / "invalid", "image-missing"
    return path, "" if inside else "path-leaves-folder"


def difference_hash(image: Image.Image) -> int:
    """64 bits that stay alike when an image is scaled, recompressed or made a little brighter.

    The image is shrunk to 9 x 8 grey pixels; a bit tells whether a pixel is brighter than its left
    neighbour.
    """
    grey = image.convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)
    pixels = np.asarray(grey, np.int16)
    bits = np.packbits(pixels[:, 1:] > pixels[:, :-1])
    return int.from_bytes(bits.tobytes(), "big")


def check_images(
    data: Dataset, root: Path, progress: Callable[[int, int], None] | None = None
) -> dict[int, ImageState]:
    """Open every image of a file, several at once.

    Args:
        data: the file; what is wrong is written down there.
        root: folder of its images.
        progress: called with the number of images done and of all.

    Returns:
        what each image is like, by row of ``data.images``.
    """
    names = [image_file(record) for record in data.images.records]
    rows = [row for row, name in enumerate(names) if name is not None]

    def look(row: int) -> ImageState:
        name = names[row] or ""
        path, kind = locate(root, name, by_url="file_name" not in data.images.records[row])
        return ImageState(kind, printable(name)) if kind else _open(path)

    states: dict[int, ImageState] = {}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for row, state in zip(rows, pool.map(look, rows)):
            states[row] = state
            if progress is not None:
                progress(len(states), len(rows))
            _judge(data, row, state)
    return states


def _judge(data: Dataset, row: int, state: ImageState) -> None:
    if state.kind:
        data.add(state.kind, data.images, row, state.detail)
        return
    said = data.image_sizes[row]
    if not np.isnan(said[0]) and tuple(said) != state.size:
        detail = f"JSON {said[0]:.0f} x {said[1]:.0f}, file {state.size[0]} x {state.size[1]}"
        data.add("size-mismatch", data.images, row, detail)
    if state.rotated:
        data.add("image-rotated", data.images, row)


def _open(path: Path) -> ImageState:
    opened = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, odd EXIF, palettes
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            with Image.open(path) as image:
                opened = True
                size, turned = upright_size(image), orientation(image) != 1
                image.draft("RGB", (128, 128))  # JPEGs are read whole, but decoded coarsely
                image.load()
                bits = difference_hash(image)
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files
        return ImageState("image-truncated" if opened else "image-unreadable", printable(error))
    return ImageState("", "", size, turned, digest, bits)
