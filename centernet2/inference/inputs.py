"""From what a user names (files, folders, patterns) to images, and where their results go."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from centernet2.errors import UserError

__all__ = [
    "IMAGE_SUFFIXES",
    "IS_VIDEO",
    "VIDEO_SUFFIXES",
    "Inputs",
    "find_images",
    "located",
    "output_paths",
    "read_image",
    "upright_rgb",
]

IMAGE_SUFFIXES = frozenset(
    [".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"]
)
VIDEO_SUFFIXES = frozenset([".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm"])
IS_VIDEO = "a video, not an image"  # how the problem with a video's name ends
_WRITABLE_SUFFIXES = IMAGE_SUFFIXES - {".avif", ".gif"}


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What names stand for.

    Attributes:
        images: in the order they were named.
        problems: one sentence about each name that gave none.
        places: where each image is (:func:`located`).
    """

    images: list[Path]
    problems: list[str]
    places: list[Path]


def find_images(names: Iterable[str], recursive: bool = False) -> Inputs:
    """Expand files, folders and patterns to image files.

    A file is taken whatever its suffix; a folder gives the images directly in it, a pattern
    (``*``, ``?``, ``[ ]``; ``**`` for any depth) those it matches, both sorted by name. A file
    named twice is taken once.

    Args:
        names: as given on a command line.
        recursive: a folder gives those in its folders too, of any depth.

    Returns:
        The images and the problems.
    """
    images: dict[Path, Path] = {}  # by what they are, so that none comes twice
    problems = []
    for name in names:
        path = Path(name).expanduser()
        if path.is_dir():
            closed: list[str] = []
            found = sorted(_images_in(path, recursive, closed))
            problems += closed
            if not found and not closed:
                problems.append(f"{name}: the folder holds no images")
        elif path.exists():
            found = [path]
        else:
            matches = sorted(map(Path, glob.glob(os.path.expanduser(name), recursive=True)))
            found = [p for p in matches if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
            if not found:
                pattern = glob.has_magic(name)
                problems.append(f"{name}: " + ("matches no images" if pattern else "no such file"))
        for image, place in zip(found, located(found)):
            if image.suffix.lower() in VIDEO_SUFFIXES:
                problems.append(f"{name}: {IS_VIDEO}")
            else:
                images.setdefault(place, image)
    return Inputs(list(images.values()), problems, list(images))


def _images_in(folder: Path, recursive: bool, problems: list[str]) -> Iterator[Path]:
    """What looks like images in a folder; no file is asked for more than its name."""

    def closed(error: OSError) -> None:
        problems.append(f"{error.filename}: the folder cannot be read ({error.strerror})")

    for place, inside, names in os.walk(folder, onerror=closed):
        here = Path(place)
        for name in names:
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                yield here / name
        if not recursive:
            inside.clear()


def located(paths: Iterable[Path]) -> list[Path]:
    """Absolute paths of files: links of their folders are followed, those of the files are not.

    Unlike ``Path.resolve`` it asks the system once a folder, which counts with many files.
    """
    folders: dict[Path, Path] = {}
    places = []
    for path in paths:
        if path.parent not in folders:
            folders[path.parent] = path.parent.resolve()
        places.append(folders[path.parent] / path.name)
    return places


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image upright (EXIF orientation applied).

    Args:
        path: of a file in any format that Pillow reads; of an animation, the first picture.

    Returns:
        ``(H, W, 3)`` uint8, RGB.

    Raises:
        UserError: it cannot be read; says why in one sentence.
    """
    try:
        with Image.open(path) as file:
            return upright_rgb(file)
    except Image.UnidentifiedImageError:
        raise UserError(f"{path}: not an image that can be read") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"{path}: {reason}") from error


def upright_rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Pixels of a Pillow image of any mode, EXIF orientation applied.

    Args:
        image: transparency is left out; of 16 bits the upper 8 are taken.

    Returns:
        ``(H, W, 3)`` uint8, RGB.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow would clip 16 bits to white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return np.array(image.convert("RGB"))


def output_paths(images: Sequence[Path], output: Path) -> list[Path]:
    """Choose a file for the drawing of each image.

    With one image ``output`` may be a file; else it is a folder, in which a drawing has its
    image's name, preceded by the names of as many of its folders as tell it from the others
    (``a/x.jpg b/x.jpg`` give ``a_x.jpg`` and ``b_x.jpg``).

    Args:
        images: distinct files.
        output: an image file or a folder; need not exist.

    Returns:
        As many distinct files as images.

    Raises:
        UserError: an image would be overwritten, or several images would go to one file.
    """
    is_file = output.suffix.lower() in IMAGE_SUFFIXES and not output.is_dir()
    if is_file and len(images) == 1:
        paths = [output]
    elif is_file or output.is_file():
        raise UserError(f"--output {output}: {len(images)} images need a folder, not a file")
    else:
        paths = [output / name for name in _distinct_names(images)]
    there = [path for path in paths if path.exists()]
    inputs = {image.resolve() for image in images} if there else set()
    for path in there:
        if path.resolve() in inputs:
            raise UserError(f"--output would overwrite the image {path}: choose another folder")
    return paths


def _distinct_names(images: Sequence[Path]) -> list[str]:
    parts = [image.parts[1:] for image in located(images)]
    depths = [1] * len(images)
    while True:
        names = [_drawing_name(part[-depth:]) for part, depth in zip(parts, depths)]
        # Case is ignored: "A.jpg" and "a.jpg" are one file on some systems.
        count = Counter(name.casefold() for name in names)
        taken = [count[name.casefold()] > 1 for name in names]
        deeper = [d + (t and d < len(part)) for d, t, part in zip(depths, taken, parts)]
        if deeper == depths:
            return [f"{i}_{name}" if t else name for i, (name, t) in enumerate(zip(names, taken))]
        depths = deeper


def _drawing_name(parts: Sequence[str]) -> str:
    name = "_".join(parts)
    return name if Path(name).suffix.lower() in _WRITABLE_SUFFIXES else f"{name}.png"
