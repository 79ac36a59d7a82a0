"""Detection on a video file or a camera, frame by frame."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Generator, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
from detectron2.structures import Instances

from centernet2.errors import UserError
from centernet2.inference.batches import batched
from centernet2.inference.colors import ObjectColors
from centernet2.inference.drawing import draw_predictions
from centernet2.inference.excerpt import WHOLE, Excerpt
from centernet2.inference.progress import Meter, counted, rate_text
from centernet2.inference.sinks import NOTHING, Sinks
from centernet2.inference.tracking import Tracker
from centernet2.inference.trails import TrailDrawer
from centernet2.inference.video import Frame, VideoReader
from centernet2.inference.video_writer import VideoWriter

__all__ = ["Finder", "detect_camera", "detect_video", "video_path"]


class Finder(Protocol):
    """What :class:`~centernet2.inference.predictor.Predictor` does for a video."""

    @property
    def class_names(self) -> Sequence[str]:
        """Name of each class."""

    def __call__(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[Instances]:
        """The objects on ``(H, W, 3)`` uint8 BGR images."""


def video_path(source: Path, output: Path) -> Path:
    """Choose the file for the drawings of a video.

    Args:
        source: the video.
        output: a file, or (without an ending, or existing as such) a folder.

    Returns:
        ``output``, or ``<name of source>.mp4`` in it.

    Raises:
        UserError: the video would be overwritten.
    """
    path = output
    if output.is_dir() or not output.suffix:
        path = output / f"{source.stem}.mp4"
    if path.resolve() == source.resolve():
        raise UserError(f"--output would overwrite the video {source}: choose another file")
    return path


def detect_video(
    predictor: Finder,
    source: Path,
    output: Path | None = None,
    sinks: Sinks = NOTHING,
    batch_size: int = 1,
    excerpt: Excerpt = WHOLE,
    tracker: Tracker | None = None,
    tell: bool = True,
) -> list[str]:
    """Detect the objects in a video file, with a progress bar.

    Args:
        predictor: of the model.
        source: the video.
        output: file or folder for the drawings; frames are shown as long as in ``source``.
        sinks: where else the results go; ``image_id`` is the frame's number in ``source``, from 0.
        batch_size: frames given to the model at a time.
        excerpt: which frames are looked at.
        tracker: gives the objects ids, which are drawn and written too.
        tell: print a line at the end, with the throughput.

    Returns:
        One sentence for each thing that went wrong on the way.

    Raises:
        UserError: the video cannot be read or written.
    """
    target = video_path(source, output) if output is not None else None
    problems = []
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(VideoReader(source, excerpt))
        writer = stack.enter_context(VideoWriter(target, reader)) if target is not None else None
        meter = stack.enter_context(Meter(reader.expected_frames, "frame"))
        _detect(predictor, reader, source.name, writer, sinks, batch_size, meter, tracker)
    if tell:
        rate = rate_text(meter.done, meter.seconds, "frame")
        where = f" -> {target}" if target is not None else ""
        print(", ".join(filter(None, [f"{source}: {counted(meter.done, 'frame')}", rate])) + where)
    if reader.skipped:
        problems.append(f"{source}: {reader.skipped} damaged frames were left out")
    if writer is not None and writer.sound_left_out is not None:
        problems.append(f"{target}: without sound, as it cannot hold {writer.sound_left_out}")
    return problems


def detect_camera(
    predictor: Finder,
    index: int,
    output: Path | None = None,
    sinks: Sinks = NOTHING,
    batch_size: int = 1,
    tracker: Tracker | None = None,
) -> list[str]:
    """Detect the objects that a camera sees, until Ctrl-C or the window is closed.

    Args:
        predictor: of the model.
        index: of the camera, from 0.
        output: file or folder (for ``webcam.mp4``) for the drawings.
        sinks: where else the results go; ``image_id`` is the frame's number from 0.
        batch_size: frames given to the model at a time.
        tracker: see :func:`detect_video`.

    Returns:
        Nothing that went wrong.

    Raises:
        UserError: the camera cannot be opened or the video cannot be written.
    """
    name = "webcam"
    with contextlib.ExitStack() as stack:
        frames = stack.enter_context(contextlib.closing(_camera(index)))
        writer = None
        if output is not None:
            writer = stack.enter_context(VideoWriter(video_path(Path(name), output)))
        # Ctrl-C is the way to end a recording, so it is no error.
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        meter = stack.enter_context(Meter(None, "frame"))
        _detect(predictor, frames, name, writer, sinks, batch_size, meter, tracker)
    return []


def _camera(index: int) -> Generator[Frame, None, None]:
    """Yield the frames of a camera, with the times at which they came."""
    capture = cv2.VideoCapture(index)
    try:
        if not capture.isOpened():
            raise UserError(f"--webcam {index}: there is no such camera, or another program has it")
        usual = 1 / Fraction(capture.get(cv2.CAP_PROP_FPS) or 25).limit_denominator(1000)
        start, numbers = time.monotonic(), itertools.count()
        while True:
            there, image = capture.read()
            if not there:
                return
            shown = Fraction(time.monotonic() - start).limit_denominator(100_000)
            picture = np.ascontiguousarray(image[:, :, ::-1], dtype=np.uint8)
            yield Frame(picture, shown, usual, number=next(numbers))
    finally:
        capture.release()


def _detect(
    predictor: Finder,
    frames: Iterable[Frame],
    name: str,
    writer: VideoWriter | None,
    sinks: Sinks,
    batch_size: int,
    meter: Meter,
    tracker: Tracker | None,
) -> None:
    """Detect the objects in frames until they end or the window is closed."""
    names = predictor.class_names
    follow = ObjectColors() if len(names) == 1 else None
    trails = TrailDrawer(tracker) if tracker is not None else None
    for batch in batched(frames, batch_size):
        predictions = predictor([frame.image[:, :, ::-1] for frame in batch])
        for frame, found in zip(batch, predictions):
            meter.advance()
            if tracker is not None:
                found = tracker(found, float(frame.time))
            if sinks.results is not None:
                sinks.results.write(found, frame.number, name, time=float(frame.time))
            if writer is None and sinks.window is None:
                continue
            if trails is not None:
                drawing = trails(frame.image, found, names)
            else:
                numbers = follow(found.pred_boxes.tensor.numpy()) if follow is not None else None
                drawing = draw_predictions(frame.image, found, names, numbers)
            if writer is not None:
                writer.write(dataclasses.replace(frame, image=drawing))
            if sinks.window is not None and not sinks.window.show(drawing, wait=False):
                return
