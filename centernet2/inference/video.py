"""Video files in and out with PyAV: true timing, upright pictures, playable whatever happens."""

from __future__ import annotations

import contextlib
import dataclasses
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

__all__ = ["Frame", "VideoReader", "VideoWriter"]

OUTPUT_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")  # containers that store a time for each frame
_MAX_MPEG4_TICKS = 65535  # ticks a second that MPEG-4 part 2 can store
_DEFAULT_RATE = Fraction(25)


@dataclasses.dataclass(frozen=True)
class Frame:
    """A picture of a video and when it is shown."""

    image: npt.NDArray[np.uint8]  # (H, W, 3), RGB, upright
    time: Fraction  # seconds since the start
    duration: Fraction  # seconds
    pixel_aspect: Fraction = Fraction(1)  # width of a pixel divided by its height


class VideoReader:
    """Iterates over the frames of a video file; a context manager.

    Frames are turned upright as the file's rotation says. Frames that cannot be decoded are left
    out and counted in ``skipped``; a file that ends in the middle just ends.

    Args:
        path: of the file.

    Raises:
        UserError: it is not a video that can be read; says why in one sentence.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped = 0
        try:
            self._container = av.open(str(path))
        except (OSError, av.error.FFmpegError) as error:
            raise UserError(f"{path}: cannot be read as a video ({error.strerror})") from error
        if not self._container.streams.video:
            self._container.close()
            raise UserError(f"{path}: holds no video")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"

    @property
    def rate(self) -> Fraction:
        """Mean number of frames a second."""
        return self._stream.average_rate or self._stream.guessed_rate or _DEFAULT_RATE

    @property
    def time_base(self) -> Fraction:
        """Seconds that the file's times are multiples of."""
        return self._stream.time_base or 1 / self.rate

    @property
    def is_bt709(self) -> bool:
        """Whether colours are stored with the matrix of BT.709 (HD) rather than BT.601."""
        return self._stream.codec_context.colorspace == Colorspace.ITU709

    @property
    def expected_frames(self) -> int | None:
        """Number of frames as the file states it or as its duration suggests; None: unknown."""
        if self._stream.frames:
            return self._stream.frames
        if self._container.duration is None:
            return None
        return round(Fraction(self._container.duration, av.time_base) * self.rate)

    def __iter__(self) -> Iterator[Frame]:
        usual = 1 / self.rate
        following = Fraction(0)
        start = _start_time(self._container)
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        for frame in self._decoded():
            # Raw streams and some AVI files have no times: then frames follow at the mean rate.
            clock = frame.time_base or self.time_base
            time = following if frame.pts is None else frame.pts * clock - start
            duration = frame.duration * clock if frame.duration else usual
            following = time + duration
            turns = round(frame.rotation / 90)  # quarter turns to the left
            image = np.rot90(self._rgb(frame), turns)
            yield Frame(
                np.ascontiguousarray(image, dtype=np.uint8),
                time,
                duration,
                1 / aspect if turns % 2 else aspect,
            )

    def _rgb(self, frame: av.VideoFrame) -> npt.NDArray[np.generic]:
        if self.is_bt709:
            # PyAV stands for the matrix of an RGB picture by BT.601.
            frame = frame.reformat(
                format="rgb24",
                src_colorspace=Colorspace.ITU709,
                dst_colorspace=Colorspace.ITU601,
            )
        return frame.to_ndarray(format="rgb24")

    def _decoded(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:  # the rest of the file is unreadable
                self.skipped += 1
                return
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self.skipped += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.skipped += 1
                else:
                    yield frame

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class VideoWriter:
    """Writes frames to a video file at given times; a context manager.

    H.264 where PyAV has an encoder for it, else MPEG-4. Leaving the context completes the file,
    after an error or Ctrl-C too: what was written so far plays.

    Args:
        path: ``.mp4``, ``.m4v``, ``.mov`` or ``.mkv``; its folder is made.
        like: a video whose frame rate, clock and colour matrix are taken over, and whose first
            sound track is copied where the container can hold it.
        rate: frames a second, where there is no ``like``.

    Raises:
        UserError: no such kind of container, or the file cannot be opened.
    """

    def __init__(
        self, path: Path, like: VideoReader | None = None, rate: Fraction = _DEFAULT_RATE
    ) -> None:
        if path.suffix.lower() not in OUTPUT_SUFFIXES:
            kinds = ", ".join(OUTPUT_SUFFIXES)
            raise UserError(f"{path}: videos are written as {kinds}; change the file's ending")
        self._like = like
        self._rate = like.rate if like is not None else rate
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("wb").close()  # PyAV opens it at the first frame only
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from error
        self._container = av.open(str(path), "w")
        self._stream: av.VideoStream | None = None
        self._sound: _Sound | None = None
        self._last_tick = -1

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
        self._last_tick = max(round(frame.time / clock), self._last_tick + 1)
        picture.pts, picture.time_base = self._last_tick, clock
        picture.duration = max(1, round(frame.duration / clock))
        self._container.mux(self._stream.encode(picture))
        if self._sound is not None:
            self._sound.copy_until(frame.time + frame.duration)

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
            self._sound = _Sound(self._like.path, self._container)
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
                self._container.mux(self._stream.encode(None))


def _fitted(image: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Repeat the last row and column of an image of odd size; scale one of another size."""
    bottom, right = height - image.shape[0], width - image.shape[1]
    if bottom in (0, 1) and right in (0, 1):
        image = np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge")
        return np.ascontiguousarray(image)
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return scaled.astype(np.uint8, copy=False)


class _Sound:
    """Copies the first sound track of a file into a container, a stretch at a time."""

    def __init__(self, source: Path, target: av.container.OutputContainer) -> None:
        self._source = av.open(str(source))
        self._target = target
        self._start = _start_time(self._source)
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
        """Copy the packets that start before ``time`` (seconds)."""
        with contextlib.suppress(av.error.FFmpegError):  # sound of a damaged file ends early
            while True:
                packet = self._waiting or next(self._packets, None)
                self._waiting = None
                if packet is None or packet.dts is None or packet.pts is None:  # the end
                    return
                if packet.dts * packet.time_base - self._start >= time:
                    self._waiting = packet
                    return
                ticks = round(self._start / packet.time_base)
                packet.dts, packet.pts = packet.dts - ticks, packet.pts - ticks
                packet.stream = self._track
                self._target.mux(packet)

    def close(self) -> None:
        """Close the source."""
        self._source.close()


def _start_time(container: av.container.InputContainer) -> Fraction:
    """Time of the first packet of any track (MPEG-TS does not begin at 0), in seconds."""
    return Fraction(container.start_time or 0, av.time_base)
