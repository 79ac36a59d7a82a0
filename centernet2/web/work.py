"""Networks run on an upload once; pictures and videos drawn from what they found."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from detectron2.structures import Instances

from centernet2.errors import UserError
from centernet2.inference.detections import Detections
from centernet2.inference.detector import Detector
from centernet2.inference.excerpt import Excerpt
from centernet2.inference.progress import Meter, rate_text
from centernet2.inference.streams import detect_video
from centernet2.inference.video import VideoReader
from centernet2.web.results import Kept, Look
from centernet2.web.uploads import Limits, Upload, named_plainly

__all__ = ["Step", "Work", "draw_picture", "draw_video", "look_at"]

_BETWEEN_STEPS = 0.3  # seconds between two reports of how far a video is
_ROUNDING = Fraction(1, 10**6)  # seconds; times of frames went through floating numbers


@dataclasses.dataclass(frozen=True)
class Work:
    """What one model found on an upload.

    Attributes:
        model: name of the model.
        upload: the image or video.
        excerpt: which frames of a video were looked at.
        pictures: the image; or each of those frames.
        rate: how fast it went, in words.
    """

    model: str
    upload: Upload
    excerpt: Excerpt
    pictures: tuple[Kept, ...]
    rate: str


@dataclasses.dataclass(frozen=True)
class Step:
    """How far a model is: a part from 0 to 1 (None: unknown), and words."""

    part: float | None
    text: str


def look_at(
    upload: Upload, models: dict[str, Detector], excerpt: Excerpt, limits: Limits
) -> Iterator[Step | list[Work]]:
    """Run networks on an upload.

    Args:
        upload: the image or video.
        models: by name.
        excerpt: which frames of a video are looked at.
        limits: of the page.

    Yields:
        How far it is, now and then; at last what each model found.

    Raises:
        UserError: the file cannot be read, or is a video that is too long.
    """
    done = []
    for name, detector in models.items():
        start = time.monotonic()
        pictures: list[Kept] = []
        if upload.is_video:
            total, told = _frames(upload, excerpt), 0.0
            meter = Meter(total, "frame", name, bar=False)
            with named_plainly(upload.path):
                for found in detector.stream(upload.path, excerpt=excerpt):
                    _check_time(found, upload, excerpt, limits)
                    pictures.append(Kept.of(found))
                    meter.advance()
                    if meter.seconds - told > _BETWEEN_STEPS:
                        told = meter.seconds
                        yield Step(min(1.0, meter.done / total) if total else None, meter.line())
            if not pictures:
                raise UserError(f"{upload.path.name}: holds no frame that can be read")
        else:
            yield Step(None, f"{name} is looking at {upload.path.name}")
            with named_plainly(upload.path):
                pictures = [Kept.of(found) for found in detector(upload.path)]
        seconds = time.monotonic() - start
        rate = f"{seconds:.2f} s"
        if upload.is_video:
            rate = rate_text(len(pictures), seconds, "frame")
        done.append(Work(name, upload, excerpt, tuple(pictures), rate))
    yield done


def _frames(upload: Upload, excerpt: Excerpt) -> int | None:
    with named_plainly(upload.path), VideoReader(upload.path, excerpt) as reader:
        return reader.expected_frames


def _check_time(found: Detections, upload: Upload, excerpt: Excerpt, limits: Limits) -> None:
    """A file may state no length, or a wrong one."""
    if (found.source.time or 0) - float(excerpt.start) > limits.video_seconds + 1:
        raise UserError(
            f"{upload.path.name}: goes on for more than the {limits.video_seconds} s that this "
            "page takes: choose a stretch of it, or use centernet2 predict"
        )


def draw_picture(work: Work, place: int, look: Look) -> tuple[npt.NDArray[np.uint8], Kept]:
    """Draw the image, or a frame of the video.

    Args:
        work: of a model.
        place: which of its pictures.
        look: what is shown.

    Returns:
        The drawing, ``(H, W, 3)`` uint8, RGB, and what is on it.

    Raises:
        UserError: the file is not there any more.
    """
    kept = work.pictures[place].chosen(look)
    found = kept.with_masks() if look.masks else kept.found
    if work.upload.is_video:
        pixels = _frame(work, place)
        found = dataclasses.replace(found, source=dataclasses.replace(found.source, pixels=pixels))
    with named_plainly(work.upload.path):
        return np.asarray(found.plot(masks=look.masks)), kept


def _frame(work: Work, place: int) -> npt.NDArray[np.uint8]:
    time_of_it = Fraction(work.pictures[place].found.source.time or 0.0)
    start = max(Fraction(0), time_of_it - _ROUNDING)
    with named_plainly(work.upload.path), VideoReader(work.upload.path, Excerpt(start)) as reader:
        for frame in reader:
            return frame.image
    raise UserError(f"{work.upload.path.name}: drop it again")


def draw_video(work: Work, look: Look, target: Path) -> list[str]:
    """Draw the whole stretch of a video as a video, with its sound.

    Args:
        work: of a model.
        look: what is shown.
        target: file to be written.

    Returns:
        One sentence for each thing that went wrong on the way.

    Raises:
        UserError: the file is not there any more, or the drawing cannot be written.
    """
    source = work.upload.path
    with named_plainly(source), named_plainly(target):
        problems = detect_video(
            _Replay(work, look), source, target, excerpt=work.excerpt, tell=False
        )
    for path in (source, target):
        problems = [problem.replace(str(path), path.name) for problem in problems]
    return problems


class _Replay:
    """Stands for the network of a work: gives again what it found, frame by frame."""

    def __init__(self, work: Work, look: Look) -> None:
        self._work = work
        self._look = look
        self._place = 0
        self.class_names = list(work.pictures[0].found.class_names)

    def __call__(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[Instances]:
        found = []
        for kept in self._work.pictures[self._place : self._place + len(images)]:
            chosen = kept.chosen(self._look)
            shown = chosen.with_masks() if self._look.masks else chosen.found
            found.append(shown.to_instances())
        self._place += len(images)
        return found
