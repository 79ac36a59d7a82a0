"""Files that a browser sent: what they are, and whether the page takes them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from PIL import Image

from centernet2.errors import UserError
from centernet2.inference.excerpt import Excerpt
from centernet2.inference.inputs import VIDEO_SUFFIXES
from centernet2.inference.video import VideoReader

__all__ = ["Limits", "Upload", "check_stretch", "check_upload", "named_plainly"]

# Not every format that Pillow knows: it hands PostScript to another program
_FORMATS = frozenset(["AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"])


@dataclasses.dataclass(frozen=True)
class Limits:
    """What the page takes.

    Attributes:
        upload_mb: size of a file, in units of 2**20 bytes.
        video_seconds: length of the stretch of a video that is looked at.
        megapixels: size of an image or a frame.
    """

    upload_mb: int = 200
    video_seconds: int = 60
    megapixels: int = 50

    @property
    def upload_bytes(self) -> int:
        """Size of a file, in bytes."""
        return self.upload_mb << 20


@dataclasses.dataclass(frozen=True)
class Upload:
    """A file that can be looked at.

    Attributes:
        path: where it is.
        is_video: whether it is one; else it is an image.
        text: what it is, in a few words.
        seconds: how long a video lasts, as far as it tells.
    """

    path: Path
    is_video: bool
    text: str
    seconds: Fraction | None = None


def check_upload(sent: str, folder: Path, limits: Limits) -> Upload:
    """Look at a file's head.

    Args:
        sent: what the browser says its path is.
        folder: where uploads are kept; nothing else is opened, whatever the browser says.
        limits: of the page.

    Raises:
        UserError: it is too large, or nothing that can be looked at; one sentence for the page.
    """
    path = Path(os.path.realpath(sent))
    if not path.is_relative_to(os.path.realpath(folder)) or not path.is_file():
        raise UserError("this file is not here (any more): drop it again")
    with named_plainly(path):
        if path.stat().st_size > limits.upload_bytes:
            raise UserError(f"{path}: larger than the {limits.upload_mb} MB that this page takes")
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return _check_video(path, limits)
        return _check_image(path, limits)


def _check_image(path: Path, limits: Limits) -> Upload:
    Image.init()  # loads the formats of this installation
    try:
        with Image.open(path, formats=sorted(_FORMATS & Image.OPEN.keys())) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        raise _too_large(path, "its", limits) from None
    except (OSError, SyntaxError, ValueError):
        raise UserError(
            f"{path}: not an image or a video that can be read; take a JPEG, PNG or MP4 file"
        ) from None
    _check_size(path, width, height, limits)
    return Upload(path, False, f"{path.name}: {width} × {height}")


def _check_video(path: Path, limits: Limits) -> Upload:
    with VideoReader(path) as reader:
        height, width = reader.stored_size
        _check_size(path, width, height, limits)
        seconds = reader.duration
        length = f"{float(seconds):.1f} s, " if seconds is not None else ""
        rate = f"{float(reader.rate):.3g} frames/s"
    return Upload(path, True, f"{path.name}: {width} × {height}, {length}{rate}", seconds)


def _check_size(path: Path, width: int, height: int, limits: Limits) -> None:
    if width * height > limits.megapixels * 10**6:
        raise _too_large(path, f"{width} × {height}", limits)


def _too_large(path: Path, size: str, limits: Limits) -> UserError:
    return UserError(
        f"{path}: {size} pixels are more than the {limits.megapixels} megapixels that this page "
        "takes: make it smaller, or use centernet2 predict"
    )


def check_stretch(path: Path, excerpt: Excerpt, limits: Limits) -> None:
    """Refuse a stretch of a video that is too long, as far as the file tells its length.

    Args:
        path: the video.
        excerpt: what of it is to be looked at.
        limits: of the page.

    Raises:
        UserError: it is too long, or holds nothing.
    """
    with named_plainly(path), VideoReader(path, excerpt) as reader:
        ends = [time for time in (excerpt.end, reader.duration) if time is not None]
        length = min(ends) - excerpt.start if ends else Fraction(0)
        if length > limits.video_seconds:
            what = "lasts" if length == reader.duration else "this stretch lasts"
            raise UserError(
                f"{path}: {what} {float(length):g} s, and this page takes {limits.video_seconds} "
                "s: choose a shorter stretch, or use centernet2 predict"
            )


@contextmanager
def named_plainly(path: Path) -> Iterator[None]:
    """Let errors name a file as its owner does, without the server's folders."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(str(path), path.name)) from error
