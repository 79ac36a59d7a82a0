"""Video files in with PyAV: true timing, upright pictures, damage survived."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Colorspace

from centernet2.errors import UserError
from centernet2.inference.excerpt import WHOLE, Excerpt

__all__ = ["DEFAULT_RATE", "Frame", "VideoReader", "open_container", "start_time"]

DEFAULT_RATE = Fraction(25)
# Lists of other files and addresses, devices, programs in FFmpeg's own language: a file of any name
# may hold one, and would have FFmpeg open what it says
_NO_VIDEOS = frozenset(
    ["concat", "concatf", "dash", "hls", "image2", "image2pipe", "imf", "webm_dash_manifest"]
    + ["rtp", "rtsp", "sdp", "alsa", "fbdev", "kmsgrab", "lavfi", "video4linux2,v4l2", "x11grab"]
)


@dataclasses.dataclass(frozen=True)
class Frame:
    """A picture of a video and when it is shown."""

    image: npt.NDArray[np.uint8]  # (H, W, 3), RGB, upright
    time: Fraction  # seconds since the start
    duration: Fraction  # seconds
    pixel_aspect: Fraction = Fraction(1)  # width of a pixel divided by its height
    number: int = 0  # of the frame in its video, from 0; damaged ones count


@dataclasses.dataclass(frozen=True)
class _Shown:
    """A frame as it was decoded, with the fields of :class:`Frame`."""

    picture: av.VideoFrame
    time: Fraction
    duration: Fraction
    number: int


class VideoReader:
    """Iterates over the frames of a video file; a context manager.

    Frames are turned upright as the file's rotation says. Frames that cannot be decoded are left
    out and counted in ``skipped``; a file that ends in the middle just ends. Times and numbers of
    frames are those of the file, whichever frames are taken; with ``excerpt.every`` a frame lasts
    until the next one that is taken.

    Args:
        path: of the file.
        excerpt: which frames are taken. What lies before it is not decoded.

    Raises:
        UserError: it is not a video that can be read, or ends before the excerpt starts; says why
            in one sentence.
    """

    def __init__(self, path: Path, excerpt: Excerpt = WHOLE) -> None:
        self.path = path
        self.excerpt = excerpt
        self.skipped = 0
        try:
            self._container = open_container(path)
        except (OSError, av.error.FFmpegError) as error:
            raise UserError(f"{path}: cannot be read as a video ({error.strerror})") from error
        if not self._container.streams.video:
            self._container.close()
            raise UserError(f"{path}: holds no video")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._start = start_time(self._container)
        self._early = 0  # packets of frames before the excerpt
        if self.duration is not None and excerpt.start >= self.duration:
            problem = self._ended()
            self._container.close()
            raise problem

    @property
    def rate(self) -> Fraction:
        """Mean number of frames a second."""
        return self._stream.average_rate or self._stream.guessed_rate or DEFAULT_RATE

    @property
    def time_base(self) -> Fraction:
        """Seconds that the file's times are multiples of."""
        return self._stream.time_base or 1 / self.rate

    @property
    def stored_size(self) -> tuple[int, int]:
        """Height and width of a frame in pixels, before it is turned upright."""
        return self._stream.height, self._stream.width

    @property
    def is_bt709(self) -> bool:
        """Whether colours are stored with the matrix of BT.709 (HD) rather than BT.601."""
        return self._stream.codec_context.colorspace == Colorspace.ITU709

    @property
    def duration(self) -> Fraction | None:
        """Seconds that the file states it lasts; None: it does not."""
        if self._container.duration is None:
            return None
        return Fraction(self._container.duration, av.time_base)

    @property
    def expected_frames(self) -> int | None:
        """Number of frames that come, as the file states its frames or length; None: unknown."""
        duration = self.duration
        if self._stream.frames:
            duration = self._stream.frames / self.rate
        return self.excerpt.number_of_frames(duration, self.rate)

    def __iter__(self) -> Iterator[Frame]:
        kept: _Shown | None = None
        members = 0
        for shown in self._excerpt():
            if kept is None:
                kept = shown
            members += 1
            if members == self.excerpt.every:
                yield self._frame(kept, shown.time + shown.duration)
                kept, members = None, 0
        if kept is not None:
            yield self._frame(kept, shown.time + shown.duration)

    def _frame(self, shown: _Shown, until: Fraction) -> Frame:
        turns = round(shown.picture.rotation / 90)  # quarter turns to the left
        image = np.rot90(self._rgb(shown.picture), turns)
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        return Frame(
            np.ascontiguousarray(image, dtype=np.uint8),
            shown.time,
            until - shown.time,
            1 / aspect if turns % 2 else aspect,
            shown.number,
        )

    def _excerpt(self) -> Iterator[_Shown]:
        """The frames between start and end of the excerpt."""
        first: int | None = None
        for position, shown in enumerate(self._timed()):
            if shown.time < self.excerpt.start:
                continue
            if self.excerpt.end is not None and shown.time >= self.excerpt.end:
                return
            if first is None:
                # Without times in the file everything is decoded, and no packet known as early.
                first = max(self._early, position) - position
            yield dataclasses.replace(shown, number=first + position + self.skipped)
        if first is None and self.excerpt.start > 0:
            raise self._ended()

    def _timed(self) -> Iterator[_Shown]:
        usual = 1 / self.rate
        following = Fraction(0)
        for picture in self._decoded():
            # Raw streams and some AVI files have no times: then frames follow at the mean rate.
            clock = picture.time_base or self.time_base
            time = following if picture.pts is None else picture.pts * clock - self._start
            duration = picture.duration * clock if picture.duration else usual
            following = time + duration
            yield _Shown(picture, time, duration, 0)

    def _ended(self) -> UserError:
        duration = self.duration
        lasts = f": it lasts {float(duration):g} s" if duration is not None else ""
        start = float(self.excerpt.start)
        return UserError(f"{self.path}: holds nothing from {start:g} s on{lasts}")

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
        packets = self._packets()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:  # the rest of the file is unreadable
                self.skipped += 1
                return
            early = self._is_early(packet)
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self.skipped += not early
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.skipped += not self._is_early(frame)
                else:
                    yield frame

    def _packets(self) -> Iterator[av.Packet]:
        """The video's packets, from the last key frame on that is shown before the excerpt."""
        waiting: list[av.Packet] = []
        reached = False
        for packet in self._container.demux(self._stream):
            early = self._is_early(packet)
            self._early += early and not packet.is_discard
            if not reached:
                if early and packet.is_keyframe:
                    waiting.clear()
                waiting.append(packet)
                if early:
                    continue
                reached = True
                yield from waiting
            else:
                yield packet
        if not reached:
            yield from waiting

    def _is_early(self, timed: av.Packet | av.VideoFrame) -> bool:
        """Whether something is known to be shown before the excerpt."""
        if timed.pts is None or timed.time_base is None:
            return False
        return timed.pts * timed.time_base - self._start < self.excerpt.start

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


def open_container(path: Path) -> av.container.InputContainer:
    """Open a file of film or sound; one that only names others is no such file.

    Args:
        path: of the file.

    Raises:
        FFmpegError: it cannot be read as one; or an ``OSError``.
    """
    formats = ",".join(sorted(av.formats_available - _NO_VIDEOS))
    return av.open(str(path), options={"format_whitelist": formats})


def start_time(container: av.container.InputContainer) -> Fraction:
    """Time of the first packet of any track (MPEG-TS does not begin at 0), in seconds."""
    return Fraction(container.start_time or 0, av.time_base)
