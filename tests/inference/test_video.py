from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from centernet2.errors import UserError
from centernet2.inference.excerpt import Excerpt
from centernet2.inference.video import Frame, VideoReader
from centernet2.inference.video_writer import VideoWriter


def frames(
    times: Sequence[float], size: tuple[int, int] = (48, 64), aspect: Fraction = Fraction(1)
) -> list[Frame]:
    """Grey pictures, each lighter than the one before."""
    marks = [Fraction(round(1000 * t), 1000) for t in times]
    shades = [np.full((*size, 3), 20 + 12 * i, dtype=np.uint8) for i in range(len(times))]
    return [Frame(s, t, Fraction(1, 25), aspect) for s, t in zip(shades, marks)]


def write(path: Path, pictures: Sequence[Frame]) -> Path:
    with VideoWriter(path) as writer:
        for frame in pictures:
            writer.write(frame)
    return path


def copy(source: Path, target: Path, limit: int | None = None) -> VideoWriter:
    with VideoReader(source) as reader, VideoWriter(target, like=reader) as writer:
        for frame in itertools.islice(reader, limit):
            writer.write(frame)
    return writer


def remux(source: Path, target: Path, turn: int | None = None) -> Path:
    """Copy the packets of a video, optionally with a rotation in degrees to the left."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        track = new.add_stream_from_template(old.streams.video[0])
        if turn is not None:
            track.set_display_rotation(turn)
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = track
                new.mux(packet)
    return target


def with_sound(path: Path, seconds: int = 2, codec: str = "aac") -> Path:
    """A video of 10 frames a second with a tone."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream(codec, rate=16000)
        for i in range(10 * seconds):
            shade = np.full((48, 64, 3), 5 * i, dtype=np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(shade, format="rgb24")))
        container.mux(video.encode(None))
        wave = np.sin(np.arange(16000 * seconds) / 5) * 9000
        for start in range(0, len(wave), 1000):
            part = wave[None, start : start + 1000].astype(np.int16)
            sound = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            sound.sample_rate, sound.pts = 16000, start
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    return path


def test_rate_number_and_length_of_a_real_video_are_kept(
    street_video: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out" / "copy.mp4"
    copy(street_video, target)
    with av.open(str(street_video)) as old, av.open(str(target)) as new:
        a, b = old.streams.video[0], new.streams.video[0]
        assert (b.codec_context.name, b.width, b.height) == ("h264", a.width, a.height)
        assert a.average_rate == b.average_rate == 25
        assert a.frames == b.frames == 250
        assert a.duration * a.time_base == b.duration * b.time_base == 10
        assert old.duration == new.duration
        for x, y in zip(itertools.islice(old.decode(a), 30), new.decode(b)):
            assert x.time == y.time
            difference = x.to_ndarray(format="rgb24").astype(int) - y.to_ndarray(format="rgb24")
            assert np.abs(difference).mean() < 6


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(12), Fraction(60)])
def test_uncommon_rates_are_kept(rate: Fraction, tmp_path: Path) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    with VideoWriter(source, rate=rate) as writer:
        for i, frame in enumerate(frames(range(12))):
            writer.write(Frame(frame.image, i / rate, 1 / rate))
    copy(source, target)
    for path in (source, target):
        with VideoReader(path) as reader:
            assert float(reader.rate) == pytest.approx(float(rate), rel=1e-4)
            times = [float(frame.time) for frame in reader]
        assert times == pytest.approx([float(i / rate) for i in range(12)], abs=1e-4)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_uneven_times_are_kept(suffix: str, tmp_path: Path) -> None:
    times = [0, 0.04, 0.08, 0.2, 0.21, 0.5, 1.0]
    source = write(tmp_path / "uneven.mkv", frames(times))
    copy(source, tmp_path / f"copy{suffix}")
    with VideoReader(tmp_path / f"copy{suffix}") as reader:
        assert [float(f.time) for f in reader] == pytest.approx(times, abs=1e-3)
    with av.open(str(tmp_path / f"copy{suffix}")) as container:
        assert container.duration / av.time_base == pytest.approx(1.04, abs=0.01)


@pytest.mark.parametrize("turn", [0, 90, 180, -90])
def test_rotated_video_is_upright(turn: int, street_video: Path, tmp_path: Path) -> None:
    source = remux(street_video, tmp_path / "rotated.mp4", turn)
    reference = cv2.VideoCapture(str(source))  # turns frames by itself
    _, expected = reference.read()
    reference.release()
    with VideoReader(source) as reader:
        image = next(iter(reader)).image
    np.testing.assert_allclose(image, expected[:, :, ::-1], atol=3)
    copy(source, tmp_path / "copy.mp4", limit=3)
    with VideoReader(tmp_path / "copy.mp4") as reader:
        again = next(iter(reader)).image
    assert again.shape == image.shape
    assert np.abs(again.astype(int) - image).mean() < 6


@pytest.mark.parametrize("size", [(47, 64), (48, 63), (33, 35), (1, 1)])
def test_odd_sizes_become_even_without_loss(size: tuple[int, int], tmp_path: Path) -> None:
    write(tmp_path / "odd.mp4", frames([0, 0.04, 0.08], size))
    with VideoReader(tmp_path / "odd.mp4") as reader:
        images = [frame.image for frame in reader]
    assert [i.shape for i in images] == [(size[0] + size[0] % 2, size[1] + size[1] % 2, 3)] * 3
    np.testing.assert_allclose([i.mean() for i in images], [20, 32, 44], atol=3)


def test_frames_of_another_size_are_scaled(tmp_path: Path) -> None:
    mixed = [frames([0])[0], frames([0, 0.04], (30, 30))[1]]
    write(tmp_path / "mixed.mp4", mixed)
    with VideoReader(tmp_path / "mixed.mp4") as reader:
        assert [frame.image.shape for frame in reader] == [(48, 64, 3)] * 2


def test_shape_of_pixels_is_kept(tmp_path: Path) -> None:
    source = write(tmp_path / "wide.mp4", frames([0, 0.04], aspect=Fraction(4, 3)))
    remux(source, tmp_path / "turned.mp4", 90)
    for path, aspect in ((source, Fraction(4, 3)), (tmp_path / "turned.mp4", Fraction(3, 4))):
        copy(path, tmp_path / "copy.mp4")
        with VideoReader(tmp_path / "copy.mp4") as reader:
            assert next(iter(reader)).pixel_aspect == aspect


def test_colours_of_hd_video_are_kept(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 3), dtype=np.uint8)
    picture[..., 0], picture[:24, :, 1], picture[:, 32:, 2] = 200, 150, 220
    with av.open(str(tmp_path / "hd.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace = 1  # BT.709
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame = frame.reformat(format="yuv420p", src_colorspace=5, dst_colorspace=1)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    copy(tmp_path / "hd.mp4", tmp_path / "copy.mp4")
    for name in ("hd.mp4", "copy.mp4"):
        with VideoReader(tmp_path / name) as reader:
            assert reader.is_bt709
            image = next(iter(reader)).image
        np.testing.assert_allclose(image[8:16, 8:24], picture[8:16, 8:24], atol=6)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_is_copied(suffix: str, tmp_path: Path) -> None:
    source = with_sound(tmp_path / "a.mp4")
    writer = copy(source, tmp_path / f"b{suffix}")
    assert writer.sound_left_out is None
    packets = []
    for path in (source, tmp_path / f"b{suffix}"):
        with av.open(str(path)) as container:
            packets.append([bytes(p) for p in container.demux(audio=0) if p.dts is not None])
    assert packets[0] == packets[1]
    assert len(packets[0]) > 30
    with av.open(str(tmp_path / f"b{suffix}")) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) >= 32000


def test_interrupted_video_ends_with_its_sound(tmp_path: Path) -> None:
    copy(with_sound(tmp_path / "a.mp4", 4), tmp_path / "b.mp4", limit=10)
    with av.open(str(tmp_path / "b.mp4")) as container:
        seconds = [float(s.duration * s.time_base) for s in container.streams]
    assert seconds == pytest.approx([1.0, 1.0], abs=0.15)


def test_sound_that_the_container_cannot_hold_is_named(tmp_path: Path) -> None:
    source = with_sound(tmp_path / "a.avi", codec="adpcm_ima_wav")
    writer = copy(source, tmp_path / "b.mp4")
    assert writer.sound_left_out == "adpcm_ima_wav"
    with VideoReader(tmp_path / "b.mp4") as reader:
        assert len(list(reader)) == 20


def test_late_start_is_taken_off(street_video: Path, tmp_path: Path) -> None:
    with av.open(str(street_video)) as old, av.open(str(tmp_path / "late.mkv"), "w") as new:
        track = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                shift = round(5 / packet.time_base)
                packet.dts, packet.pts = packet.dts + shift, packet.pts + shift
                packet.stream = track
                new.mux(packet)
    with VideoReader(tmp_path / "late.mkv") as reader:
        assert [float(f.time) for f in itertools.islice(reader, 2)] == pytest.approx([0, 0.04])


def test_file_cut_in_the_middle_is_read_to_there(street_video: Path, tmp_path: Path) -> None:
    whole = remux(street_video, tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    copy(tmp_path / "cut.mkv", tmp_path / "copy.mp4")
    with VideoReader(tmp_path / "copy.mp4") as copied:
        number = len(list(copied))
    assert 50 < number < 200


def test_damaged_frames_are_left_out_and_counted(street_video: Path, tmp_path: Path) -> None:
    data = bytearray(street_video.read_bytes())
    data[100_000:130_000] = bytes((7 * byte + 13) % 256 for byte in data[100_000:130_000])
    (tmp_path / "damaged.mp4").write_bytes(data)
    with VideoReader(tmp_path / "damaged.mp4") as reader:
        marks = [(frame.number, float(frame.time)) for frame in reader]
    assert reader.skipped > 0
    assert 100 < len(marks) == 250 - reader.skipped
    assert marks[0] == (0, 0) and marks[-1] == (249, 9.96)
    with VideoReader(tmp_path / "damaged.mp4", Excerpt(Fraction(4))) as reader:
        late = [(frame.number, float(frame.time)) for frame in reader]
    assert late == [mark for mark in marks if mark[1] >= 4]
    assert reader.skipped == 0  # what is damaged lies before


@pytest.mark.parametrize("problem", [KeyboardInterrupt, RuntimeError])
def test_file_written_so_far_plays_after_an_error(
    problem: type[BaseException], tmp_path: Path
) -> None:
    def interrupted() -> None:
        with VideoWriter(tmp_path / "part.mp4") as writer:
            for frame in frames([0, 0.04, 0.08]):
                writer.write(frame)
            raise problem

    with pytest.raises(problem):
        interrupted()
    with VideoReader(tmp_path / "part.mp4") as reader:
        assert len(list(reader)) == 3


def test_times_that_repeat_still_give_every_frame(tmp_path: Path) -> None:
    write(tmp_path / "same.mp4", frames([0, 0, 0.04, 0.02]))
    with VideoReader(tmp_path / "same.mp4") as reader:
        times = [frame.time for frame in reader]
    assert len(times) == 4
    assert times == sorted(set(times))


def test_encoder_falls_back_to_mpeg4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "source.mkv", frames([0, 0.04, 0.08, 0.5]))
    remux(source, tmp_path / "fine.mp4")
    monkeypatch.setattr(av.codec, "codecs_available", {"mpeg4"})
    copy(tmp_path / "fine.mp4", tmp_path / "copy.mp4")
    with av.open(str(tmp_path / "copy.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    with VideoReader(tmp_path / "copy.mp4") as reader:
        times = [float(frame.time) for frame in reader]
    assert times == pytest.approx([0, 0.04, 0.08, 0.5], abs=1e-3)


def test_excerpt_of_a_real_video_is_what_full_decoding_gives(street_video: Path) -> None:
    with VideoReader(street_video) as reader:
        every = [(f.number, f.time, f.image) for f in itertools.islice(reader, 200)]
    excerpt = Excerpt(Fraction("6.01"), Fraction("7.2"), every=7)
    with VideoReader(street_video, excerpt) as reader:
        taken = list(reader)
        assert reader.expected_frames == len(taken)
    expected = [x for x in every if Fraction("6.01") <= x[1] < Fraction("7.2")][::7]
    assert (
        [f.number for f in taken] == [number for number, _, _ in expected] == [*range(151, 180, 7)]
    )
    assert [f.time for f in taken] == [time for _, time, _ in expected]
    for frame, (_, _, image) in zip(taken, expected):
        np.testing.assert_array_equal(frame.image, image)


def test_what_lies_before_an_excerpt_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "keys.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "10", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(36):
            shade = np.full((48, 64, 3), 7 * i, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shade, format="rgb24")))
        container.mux(stream.encode(None))
    with VideoReader(path, Excerpt(Fraction("2.45"))) as reader:
        pictures = list(reader._decoded())
    assert [float(p.time) for p in pictures] == pytest.approx([2 + i / 10 for i in range(16)])
    with VideoReader(path, Excerpt(Fraction("2.45"))) as reader:
        assert [f.number for f in reader] == [*range(25, 36)]


def test_every_third_frame_of_uneven_times_lasts_to_the_next(tmp_path: Path) -> None:
    times = [0, 0.04, 0.08, 0.2, 0.21, 0.5, 1.0, 1.1]
    source = write(tmp_path / "uneven.mkv", frames(times))
    with VideoReader(source, Excerpt(every=3)) as reader:
        taken = [(f.number, float(f.time), float(f.duration)) for f in reader]
    numbers, starts, lasts = zip(*taken)
    assert numbers == (0, 3, 6)
    assert starts == pytest.approx([0, 0.2, 1.0], abs=1e-3)
    assert lasts[:2] == pytest.approx([0.12, 0.34], abs=0.011)
    assert starts[2] + lasts[2] == pytest.approx(1.14, abs=1e-3)


def test_excerpt_of_a_file_without_times(tmp_path: Path) -> None:
    write(tmp_path / "timed.mp4", frames([i / 25 for i in range(12)]))
    remux(tmp_path / "timed.mp4", tmp_path / "raw.h264")
    with VideoReader(tmp_path / "raw.h264", Excerpt(Fraction("0.2"), every=2)) as reader:
        taken = [(f.number, float(f.time), f.image.mean()) for f in reader]
    numbers, times, shades = zip(*taken)
    assert numbers == (5, 7, 9, 11)
    assert times == pytest.approx([0.2, 0.28, 0.36, 0.44])
    assert shades == pytest.approx([20 + 12 * i for i in numbers], abs=3)


def test_sound_of_an_excerpt_stays_with_its_pictures(tmp_path: Path) -> None:
    source, target = with_sound(tmp_path / "a.mp4", 4), tmp_path / "b.mp4"
    excerpt = Excerpt(Fraction(1), Fraction(3), every=5)
    with VideoReader(source, excerpt) as reader, VideoWriter(target, like=reader) as writer:
        for frame in reader:
            writer.write(frame)
    with VideoReader(target) as reader:
        assert [float(f.time) for f in reader] == pytest.approx([0, 0.5, 1, 1.5])
    tracks = []
    for path in (source, target):
        with av.open(str(path)) as container:
            packets = [p for p in container.demux(audio=0) if p.dts is not None]
            tracks.append({bytes(p): float(p.pts * p.time_base) for p in packets})
            lengths = [float(s.duration * s.time_base) for s in container.streams]
    assert lengths == pytest.approx([2, 2], abs=0.15)
    shifts = [tracks[0][data] - time for data, time in tracks[1].items()]
    assert len(shifts) > 25
    assert shifts == pytest.approx([1.0] * len(shifts), abs=0.002)


def test_excerpt_after_the_end_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "short.mp4", frames([0, 0.04]))
    with pytest.raises(UserError, match=r"short\.mp4: holds nothing from 5 s on: it lasts 0\.08 s"):
        VideoReader(source, Excerpt(Fraction(5)))
    remux(source, tmp_path / "raw.h264")  # states no length
    reader = VideoReader(tmp_path / "raw.h264", Excerpt(Fraction(5)))
    with reader, pytest.raises(UserError, match=r"raw\.h264: holds nothing from 5 s on"):
        list(reader)


def test_expected_number_of_frames(street_video: Path, tmp_path: Path) -> None:
    for path in (street_video, remux(street_video, tmp_path / "without_index.mkv")):
        with VideoReader(path) as reader:
            assert reader.expected_frames == pytest.approx(250, abs=1)


@pytest.mark.parametrize(
    "content",
    [
        "ffconcat version 1.0\nfile clip.mkv\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.mkv\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    ],
)
def test_files_that_name_others_are_no_videos(content: str, tmp_path: Path) -> None:
    write(tmp_path / "clip.mkv", frames([0, 0.1, 0.2]))
    listed = tmp_path / "list.mp4"
    listed.write_text(content)
    with pytest.raises(UserError, match=r"list\.mp4: cannot be read as a video"):
        VideoReader(listed)


def test_unusable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with_sound(tmp_path / "both.mp4")
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 800), np.int16), format="s16", layout="mono"
        )
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
    for name in ("missing.mp4", "text.mp4", "sound.wav"):
        with pytest.raises(UserError, match=name):
            VideoReader(tmp_path / name)
    with pytest.raises(UserError, match=r"out\.gif.*\.mp4"):
        VideoWriter(tmp_path / "out.gif")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        VideoWriter(tmp_path / "folder.mp4")
