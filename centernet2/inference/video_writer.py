"""Video files out with PyAV: true timing, sound copied, playable whatever happens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import cast

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Colorspace

from centernet2.errors import UserError
from centernet2.inference.video import DEFAULT_RATE, Frame, VideoReader, open_container, start_time

__all__ = ["VideoWriter"]

OUTPUT_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")  # containers that store a time for each frame
_MAX_MPEG4_TICKS = 65535  # ticks a second that MPEG-4 part 2 can store


class VideoWriter:
    """Writes frames to a video file at given times; a context manager.

    H.264 where PyAV has an encoder for it, else MPEG-4. Leaving the context completes the file,
    after an error or Ctrl-C too: what was written so far plays.

    Args:
        path: ``.mp4``, ``.m4v``, ``.mov`` or ``.mkv``; its folder is made.
        like: a video whose frame rate, clock and colour matrix are taken over, and whose first
            sound track is copied where the container can hold it. Of an excerpt that starts later,
            the first frame is shown at 0 here.
        rate: frames a second, where there is no ``like``.

    Raises:
        UserError: no such kind of container, or the file cannot be opened.
    """

    def __init__(
        self, path: Path, like: VideoReader | None = None, rate: Fraction = DEFAULT_RATE
    ) -> None:
        if path.suffix.lower() not in OUTPUT_SUFFIXES:
            kinds = ", ".join(OUTPUT_SUFFIXES)
            raise UserError(f"{path}: videos are written as {kinds}; change the file's ending")
        self._like = like
        self._rate = like.rate / like.excerpt.every if like is not None else rate
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("wb").close()  # PyAV opens it at the first frame only
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from error
        self._container = av.open(str(path), "w")
        self._stream: av.VideoStream | None = None
        self._sound: _Sound | None = None
        self._offset = Fraction(0)  # time of the source that is 0 here
        self._last_tick = -1
        self._durations: dict[int | None, int] = {}  # in ticks, by the time of the frame

    def write(self, frame: Frame) -> None:
        """Append a frame.

        Args:
            frame: later than the one before. The first frame's size is the video's (one more
                pixel where odd); others are scaled to it.

        Raises:
            UserError: the file cannot be written on, because the disk is full for example.
        """
        try:
            self._write(frame)
        except av.error.FFmpegError as error:
            raise UserError(f"{self._path}: cannot be written ({error.strerror})") from error

    def _write(self, frame: Frame) -> None:
        if self._stream is None:
            self._stream = self._start(frame)
        context = self._stream.codec_context
        picture = av.VideoFrame.from_ndarray(
            _fitted(frame.image, context.height, context.width), format="rgb24"
        )
        if self._like is not None and self._like.is_bt709:
            picture = picture.reformat(
                format="yuv420p",
                src_colorspace=Colorspace.ITU601,
                dst_colorspace=Colorspace.ITU709,
            )
        clock = Fraction(context.time_base)
        time = frame.time - self._offset
        self._last_tick = max(round(time / clock), self._last_tick + 1)
        picture.pts, picture.time_base = self._last_tick, clock
        self._durations[self._last_tick] = max(1, round(frame.duration / clock))
        self._mux(self._stream.encode(picture))
        if self._sound is not None:
            self._sound.copy_until(time + frame.duration)

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            # Encoders take each frame to last as long as the rate says, the last one too.
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            self._container.mux(packet)

    @property
    def sound_left_out(self) -> str | None:
        """Name of the codec of a sound track that the container cannot hold."""
        return self._sound.left_out if self._sound is not None else None

    def _start(self, first: Frame) -> av.VideoStream:
        height, width = first.image.shape[:2]
        codec = "libx264" if "libx264" in av.codec.codecs_available else "mpeg4"
        stream = cast(av.VideoStream, self._container.add_stream(codec, rate=self._rate))
        context = stream.codec_context
        context.width, context.height = width + width % 2, height + height % 2
        context.pix_fmt = "yuv420p"
        if codec == "libx264":
            # No B-frames: reordered, an uneven frame rate gives a file that states a wrong length.
            context.options = {"crf": "20", "preset": "veryfast", "bf": "0"}
        else:
            context.bit_rate = round(width * height * self._rate / 5)
        clock = self._like.time_base if self._like is not None else 1 / (1000 * self._rate)
        if codec == "mpeg4" and clock.denominator > _MAX_MPEG4_TICKS:
            clock = clock.limit_denominator(_MAX_MPEG4_TICKS)
        context.time_base = clock
        context.sample_aspect_ratio = first.pixel_aspect
        if self._like is not None:
            if self._like.is_bt709:
                context.colorspace = Colorspace.ITU709
            if self._like.excerpt.start > 0:
                self._offset = first.time
            self._sound = _Sound(self._like.path, self._container, self._offset)
        return stream

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.ExitStack() as stack:
            if error is not None:  # of which a file that cannot be completed only follows
                stack.enter_context(contextlib.suppress(av.error.FFmpegError))
            stack.callback(self._container.close)
            if self._sound is not None:
                stack.callback(self._sound.close)
            if self._stream is not None:
                self._mux(self._stream.encode(None))


def _fitted(image: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Repeat the last row and column of an image of odd size; scale one of another size."""
    bottom, right = height - image.shape[0], width - image.shape[1]
    if bottom in (0, 1) and right in (0, 1):
        image = np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge")
        return np.ascontiguousarray(image)
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return scaled.astype(np.uint8, copy=False)


class _Sound:
    """Copies the first sound track of a file into a container, a stretch at a time.

    Args:
        source: the file.
        target: the container.
        offset: seconds of the source that are left out.
    """

    def __init__(
        self, source: Path, target: av.container.OutputContainer, offset: Fraction
    ) -> None:
        self._source = open_container(source)
        self._target = target
        self._start = start_time(self._source) + offset
        self._offset = offset
        self._packets: Iterator[av.Packet] = iter(())
        self._waiting: av.Packet | None = None
        self.left_out: str | None = None
        tracks = self._source.streams.audio
        if tracks:
            name = tracks[0].codec_context.name
            if name in target.supported_codecs:
                self._track = target.add_stream_from_template(tracks[0])
                self._packets = self._source.demux(tracks[0])
            else:
                self.left_out = name

    def copy_until(self, time: Fraction) -> None:
        """Copy the packets that start before ``time`` (seconds, the offset taken off)."""
        with contextlib.suppress(av.error.FFmpegError):  # sound of a damaged file ends early
            while True:
                packet = self._waiting or next(self._packets, None)
                self._waiting = None
                if packet is None or packet.dts is None or packet.pts is None:  # the end
                    return
                starts = packet.dts * packet.time_base - self._start
                if starts >= time:
                    self._waiting = packet
                    return
                if self._offset and starts < 0:
                    continue
                ticks = round(self._start / packet.time_base)
                packet.dts, packet.pts = packet.dts - ticks, packet.pts - ticks
                packet.stream = self._track
                self._target.mux(packet)

    def close(self) -> None:
        """Close the source."""
        self._source.close()
