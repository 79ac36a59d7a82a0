"""From whatever holds images (paths, folders, arrays, lists, videos) to one image after another."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Union

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from centernet2.errors import UserError
from centernet2.inference.excerpt import WHOLE, Excerpt
from centernet2.inference.inputs import IS_VIDEO, VIDEO_SUFFIXES, find_images, read_image
from centernet2.inference.pixels import InMemoryImage, rgb_pixels
from centernet2.inference.video import VideoReader

__all__ = ["Images", "Source", "read_sources"]

Images = Union[str, "os.PathLike[str]", InMemoryImage, Iterable[Any]]

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """An image and where it came from.

    Attributes:
        path: its file, or the video it is a frame of; None: it was in memory.
        frame: number of the video's frame, from 0, damaged ones counted; None: it is no frame of a
            video.
        time: when that frame is shown, in seconds.
        pixels: ``(H, W, 3)`` uint8, RGB; None for an image file, which can be read again.
    """

    path: Path | None = None
    frame: int | None = None
    time: float | None = None
    pixels: npt.NDArray[np.uint8] | None = None

    def image(self) -> npt.NDArray[np.uint8]:
        """The pixels, ``(H, W, 3)`` uint8, RGB.

        Raises:
            UserError: the file cannot be read (any more).
        """
        if self.pixels is not None:
            return self.pixels
        if self.path is None:
            raise ValueError("a source needs a path or pixels")
        return read_image(self.path)


def read_sources(
    images: Images,
    channel_order: str,
    *,
    videos: bool,
    skip_broken: bool,
    excerpt: Excerpt = WHOLE,
) -> Iterator[tuple[Source, npt.NDArray[np.uint8]]]:
    """Read images one after another; nothing is read before it is asked for.

    Args:
        images: a path of an image file, a folder or a pattern; a Pillow image, an array or a
            tensor (:func:`~centernet2.inference.pixels.rgb_pixels`), or a batch of them with one
            more dimension in front; or anything that yields these.
        channel_order: of arrays and tensors, "RGB" or "BGR".
        videos: whether a path may be that of a video, which gives its frames.
        skip_broken: log a warning for what cannot be read and go on.
        excerpt: which frames of videos are taken.

    Yields:
        Where each image came from, and its pixels, ``(H, W, 3)`` uint8, RGB.

    Raises:
        UserError: something cannot be read, unless ``skip_broken``; or is no image at all.
    """
    if isinstance(images, (str, os.PathLike)):
        yield from _read_name(os.fspath(images), videos, skip_broken, excerpt)
    elif isinstance(images, Image.Image) or (
        isinstance(images, (np.ndarray, torch.Tensor)) and images.ndim != 4
    ):
        pixels = rgb_pixels(images, channel_order)
        yield Source(pixels=pixels), pixels
    elif isinstance(images, Iterable) and not isinstance(images, (bytes, bytearray, Mapping)):
        for item in images:
            yield from read_sources(
                item, channel_order, videos=videos, skip_broken=skip_broken, excerpt=excerpt
            )
    else:
        raise UserError(
            f"{type(images).__name__} is no image: give a path, a Pillow image, a NumPy array, a "
            "tensor, or a list of these"
        )


def _read_name(
    name: str, videos: bool, skip_broken: bool, excerpt: Excerpt
) -> Iterator[tuple[Source, npt.NDArray[np.uint8]]]:
    path = Path(name).expanduser()
    if videos and path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
        yield from _read_video(path, excerpt)
        return
    found = find_images([name])
    for problem in found.problems:
        hint = "" if videos or not problem.endswith(IS_VIDEO) else ": use stream()"
        _tell(UserError(problem + hint), skip_broken)
    for image in found.images:
        try:
            pixels = read_image(image)
        except UserError as error:
            _tell(error, skip_broken)
        else:
            yield Source(image), pixels


def _read_video(path: Path, excerpt: Excerpt) -> Iterator[tuple[Source, npt.NDArray[np.uint8]]]:
    with VideoReader(path, excerpt) as reader:
        for frame in reader:
            yield Source(path, frame.number, float(frame.time), frame.image), frame.image
        if reader.skipped:
            logger.warning("%s: %d damaged frames were left out", path, reader.skipped)


def _tell(error: UserError, skip: bool) -> None:
    if not skip:
        raise error
    logger.warning("%s", error)
