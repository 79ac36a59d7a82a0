from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from centernet2 import Detector
from centernet2.inference.excerpt import Excerpt
from centernet2.inference.predictor import Predictor
from centernet2.inference.video import Frame, VideoReader
from centernet2.inference.video_writer import VideoWriter

Run = Callable[..., tuple[int, str, str]]
REPO = Path(__file__).resolve().parents[2]
QUICK = ("--score-thresh", "0.01", "--device", "cpu")


class Seen:
    """Counts the images given to models, and stops the run as Ctrl-C does after ``limit``."""

    def __init__(self) -> None:
        self.images = 0
        self.limit = 10**9


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    counter, real = Seen(), Predictor.__call__

    def call(self: Predictor, images: Any) -> Any:
        if counter.images >= counter.limit:
            raise KeyboardInterrupt
        counter.images += len(images)
        return real(self, images)

    monkeypatch.setattr(Predictor, "__call__", call)
    return counter


def results(folder: Path) -> tuple[Any, Any]:
    return tuple(
        json.loads((folder / name).read_text()) for name in ("detections.json", "results.json")
    )


def test_folder_gives_drawings_and_coco_files(
    run: Run, model: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "broken.png").write_text("no image")
    out = tmp_path / "out"
    status, printed, said = run("predict", photos, "--model", model, "--output", out, *QUICK)
    assert status == 1
    assert said == f"warning: {photos}/broken.png: not an image that can be read\n"
    assert f"5 images with 25 objects: {out}/detections.json" in printed
    assert "images/s" in printed or "s/image" in printed
    drawn = {path.name for path in out.glob("*.png")}
    assert drawn == {f"{number}.png" for number in range(5)}
    data = COCO(str(out / "detections.json"))
    assert [image["file_name"] for image in data.dataset["images"]] == sorted(drawn)
    assert data.dataset["images"][0] == {"id": 1, "file_name": "0.png", "width": 60, "height": 40}
    assert [c["name"] for c in data.dataset["categories"]] == ["class 0", "class 1"]
    loaded = data.loadRes(str(out / "results.json"))
    assert len(loaded.getAnnIds()) == len(data.getAnnIds()) == 25


def test_results_are_those_of_the_model(
    run: Run, model: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run("predict", photos, "--model", model, "--output", out, "--no-drawings", *QUICK)
    detector = Detector(model, device="cpu", score_thresh=0.01)
    expected = []
    for number, found in enumerate(detector(photos)):
        entries = found.to_coco(number)
        expected += [{**entry, "file_name": found.path.name} for entry in entries]
    _, entries = results(out)
    by_id = lambda entry: (entry["image_id"], -entry["score"], entry["bbox"])  # noqa: E731
    for ours, theirs in zip(sorted(entries, key=by_id), sorted(expected, key=by_id)):
        np.testing.assert_allclose(ours.pop("bbox"), theirs.pop("bbox"), atol=1e-3)
        assert ours.pop("score") == pytest.approx(theirs.pop("score"), abs=1e-5)
        assert ours == theirs
    assert len(entries) == len(expected) == 25
    assert not list(out.glob("*.png"))


def test_stopped_run_goes_on_where_it_was(
    run: Run, model: Path, photos: Path, tmp_path: Path, seen: Seen
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = ["predict", photos, "--recursive", "--model", model, *QUICK]
    assert run(*command, "--output", whole)[0] == 0
    seen.images, seen.limit = 0, 3
    status, _, said = run(*command, "--output", out)
    assert status == 130
    assert said == "stopped; what was finished is saved: --resume with the same command goes on\n"
    assert not (out / "detections.json").exists()
    with (out / "detections.jsonl").open("a") as file:
        file.write('{"file_name": "4.png", "wid')  # as a kill leaves it

    seen.images, seen.limit = 0, 10**9
    status, _, said = run(*command, "--output", out)
    assert status == 2
    assert "add --resume to go on" in said
    assert seen.images == 0

    status, printed, _ = run(*command, "--output", out, "--resume")
    assert status == 0
    assert seen.images == 4
    assert "7 images with 35 objects" in printed
    assert results(out) == results(whole)
    lines = [json.loads(line) for line in (out / "detections.jsonl").read_text().splitlines()]
    names = [line["file_name"] for line in lines[1:]]
    assert sorted(names) == sorted(set(names))
    assert len(names) == 7
    assert {p.relative_to(out).as_posix() for p in out.rglob("*.png")} == {
        f"{number}.png" for number in range(7)
    }

    run(*command, "--output", out, "--resume")
    assert seen.images == 4  # nothing was left to do


def test_resumed_run_takes_new_images_and_tries_broken_ones_again(
    run: Run, model: Path, photos: Path, tmp_path: Path, seen: Seen
) -> None:
    (photos / "9.png").write_text("no image")
    command = ["predict", photos, "--model", model, "--output", tmp_path / "out", *QUICK]
    assert run(*command)[0] == 1
    for name in ("8.png", "9.png"):
        (photos / name).write_bytes((photos / "0.png").read_bytes())
    seen.images = 0
    assert run(*command, "--resume")[0] == 0
    assert seen.images == 2
    document, _ = results(tmp_path / "out")
    assert [i["file_name"] for i in document["images"]] == [
        f"{n}.png" for n in (0, 1, 2, 3, 4, 8, 9)
    ]
    assert [i["id"] for i in document["images"]] == [0, 1, 2, 3, 4, 8, 9]


def test_other_options_are_not_mixed_into_a_record(
    run: Run, model: Path, photos: Path, tmp_path: Path
) -> None:
    command = ["predict", photos, "--model", model, "--output", tmp_path / "out"]
    assert run(*command, *QUICK)[0] == 0
    before = (tmp_path / "out" / "detections.jsonl").read_bytes()
    cases = {
        "score threshold 0.01, not 0.3": ["--score-thresh", "0.3"],
        "drawings True, not False": [*QUICK, "--no-drawings"],
        "configuration": [*QUICK, "--opts", "INPUT.MIN_SIZE_TEST", "48"],
    }
    for sentence, options in cases.items():
        status, _, said = run(*command, "--resume", *options)
        assert status == 2
        assert sentence in said
        assert "choose another --output" in said
    assert (tmp_path / "out" / "detections.jsonl").read_bytes() == before
    # a complete run is replaced when nothing is said
    assert run(*command, "--score-thresh", "0.9")[0] == 0
    assert results(tmp_path / "out")[1] == []


def test_processes_share_the_images(
    run: Run,
    model: Path,
    photos: Path,
    tmp_path: Path,
    seen: Seen,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    (photos / "bad.png").write_text("no image")
    command = ["predict", photos, "--recursive", "--model", model, "--no-drawings", *QUICK]
    run(*command, "--output", whole)
    seen.images = 0
    monkeypatch.setenv("WORLD_SIZE", "3")
    counts = []
    for rank in (2, 0, 1):
        assert not (out / "detections.json").exists()
        monkeypatch.setenv("RANK", str(rank))
        before = seen.images
        status, printed, _ = run(*command, "--output", out)
        assert status == 0  # torchrun would end the others
        assert f"[process {rank} of 3]" in printed
        counts.append(seen.images - before)
    assert sum(counts) == 7
    assert max(counts) <= 3
    assert results(out) == results(whole)
    assert len(list(out.glob("detections.*-of-3.jsonl"))) == 3

    # another number of processes goes on from theirs
    (photos / "7.png").write_bytes((photos / "0.png").read_bytes())
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name)
    seen.images = 0
    run(*command, "--output", out, "--resume")
    assert seen.images == 1
    assert len(results(out)[0]["images"]) == 8


@pytest.mark.slow
def test_killed_run_loses_nothing_that_was_finished(
    run: Run, model: Path, photos: Path, tmp_path: Path, seen: Seen
) -> None:
    for number in range(10, 155):
        os.link(photos / "0.png", photos / f"{number}.png")
    out, whole = tmp_path / "out", tmp_path / "whole"
    options = ["predict", photos, "--model", model, "--no-drawings", *QUICK]
    run(*options, "--output", whole)
    command = [sys.executable, "-m", "centernet2", *map(str, options), "--output", str(out)]
    process = subprocess.Popen(command, cwd=REPO)
    record = out / "detections.jsonl"
    try:
        while process.poll() is None:
            if record.exists() and record.stat().st_size > 10_000:
                break
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert process.returncode == -signal.SIGKILL
    finished = record.read_bytes().count(b"\n") - 1
    assert 0 < finished < 150
    seen.images = 0
    run(*options, "--output", out, "--resume")
    assert seen.images == 150 - finished
    ours, theirs = results(out)[1], results(whole)[1]
    assert [e["image_id"] for e in ours] == [e["image_id"] for e in theirs]
    scores = [[e["score"] for e in entries] for entries in (ours, theirs)]
    np.testing.assert_allclose(*scores, atol=1e-5)


@pytest.mark.slow
def test_video_gives_a_video_and_results(
    run: Run, model: Path, tmp_path: Path, street_video: Path
) -> None:
    out = tmp_path / "out"
    part = ["--end", "2", "--output", out, *QUICK]
    status, _, _ = run("predict", street_video, "--model", model, *part)
    assert status == 0
    with VideoReader(out / "bikes.mp4") as reader:
        assert reader.expected_frames == 50
    entries = json.loads((out / "bikes.json").read_text())
    assert {entry["image_id"] for entry in entries} == set(range(50))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Six frames of noise at uneven times, 0.9 s in all, 64x48."""
    path = tmp_path / "clip.mkv"
    noise = np.random.default_rng(0).integers(0, 256, (6, 48, 64, 3), dtype=np.uint8)
    tenths = [0, 1, 2, 5, 6, 8]
    with VideoWriter(path, rate=Fraction(10)) as writer:
        for picture, at in zip(noise, tenths):
            writer.write(Frame(picture, Fraction(at, 10), Fraction(1, 10)))
    return path


def test_part_of_a_video_keeps_its_times_and_numbers(
    run: Run, model: Path, clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ["--start", "0.1", "--end", "0:00.8", "--every", "2", "--output", out, *QUICK]
    status, printed, said = run("predict", clip, "--model", model, *options)
    assert (status, said) == (0, "")
    assert f"{clip}: 2 frames" in printed
    assert f" -> {out / 'clip.mp4'}\n" in printed
    assert "frames/s" in printed or "s/frame" in printed
    entries = json.loads((out / "clip.json").read_text())
    assert {(e["image_id"], e["time"]) for e in entries} == {(1, 0.1), (3, 0.5)}
    with VideoReader(out / "clip.mp4") as reader:
        shown = [(frame.time, frame.duration) for frame in reader]
    assert shown == [(0, Fraction(4, 10)), (Fraction(4, 10), Fraction(2, 10))]


def test_objects_of_each_video_are_followed_by_themselves(
    run: Run, model: Path, clip: Path, tmp_path: Path
) -> None:
    pytest.importorskip("trackers")
    other = clip.with_name("other.mkv")
    other.write_bytes(clip.read_bytes())
    out = tmp_path / "out"
    follow = ["--track", "--count-line", "0,24,64,24", "--no-drawings", "--output", out, *QUICK]
    status, printed, _ = run("predict", clip, other, "--model", model, *follow)
    assert status == 0
    told = [line for line in printed.splitlines() if "distinct objects" in line]
    assert [line.partition(": ")[0] for line in told] == [str(clip), str(other)]
    assert told[0].partition(": ")[2] == told[1].partition(": ")[2]
    assert "line crossed: " in told[0]
    followed = [json.loads((out / f"{name}.json").read_text()) for name in ("clip", "other")]
    ids = [[entry.get("track_id") for entry in entries] for entries in followed]
    assert ids[0] == ids[1]
    assert any(ids[0])
    assert not list(out.glob("*.mp4"))


def phone_video(source: Path, path: Path, seconds: int) -> list[Fraction]:
    """A real street as a phone records it: turned by the file, at uneven times, with a tone.

    Returns:
        The times of its frames, in seconds.
    """
    with VideoReader(source, Excerpt(Fraction(4), Fraction(4 + seconds))) as reader:
        pictures = [frame.image for frame in reader]
    ticks = [40 * number + 13 * (number % 3) for number in range(len(pictures))]
    clock = Fraction(1, 1000)
    with av.open(str(path), "w") as file:
        film = file.add_stream("libx264", rate=25, options={"bf": "0", "g": "5"})
        film.width, film.height, film.pix_fmt = 640, 272, "yuv420p"
        film.codec_context.time_base = clock
        film.set_display_rotation(90)
        sound = file.add_stream("aac", rate=16000)
        wave = 9000 * np.sin(np.arange(16000 * seconds) / 5)
        heard = av.AudioFrame.from_ndarray(wave[None].astype(np.int16), "s16", "mono")
        heard.sample_rate = 16000
        tones = [*sound.encode(heard), *sound.encode(None)]
        for tick, picture in zip(ticks, pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = tick, clock
            file.mux(film.encode(frame))
        file.mux([*film.encode(None), *tones])
    return [Fraction(tick, 1000) for tick in ticks]


@pytest.mark.slow
def test_a_damaged_video_of_a_phone_is_upright_in_time_and_heard(
    run: Run, model: Path, street_video: Path, tmp_path: Path
) -> None:
    phone, out = tmp_path / "phone.mp4", tmp_path / "out"
    times = phone_video(street_video, phone, seconds=2)
    data = bytearray(phone.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 4000] = bytes((7 * byte + 13) % 256 for byte in data[middle:][:4000])
    phone.write_bytes(data)

    fast = ["--batch-size", "4", "--output", out, *QUICK]
    status, printed, said = run("predict", phone, "--model", model, *fast)
    assert status == 1
    match = re.fullmatch(rf"warning: {phone}: (\d+) damaged frames were left out\n", said)
    assert match is not None, said
    left = 50 - int(match[1])
    assert 25 < left < 50
    assert f"{phone}: {left} frames" in printed
    with VideoReader(out / "phone.mp4") as reader:
        shown = {frame.time for frame in reader}
        assert reader.stored_size == (640, 272)  # upright
    assert len(shown) == left
    assert shown <= set(times)
    entries = json.loads((out / "phone.json").read_text())
    assert {round(1000 * entry["time"]) for entry in entries} <= {int(1000 * t) for t in times}
    assert all(times[e["image_id"]] == Fraction(e["time"]).limit_denominator(1000) for e in entries)
    assert max(e["bbox"][1] + e["bbox"][3] for e in entries) > 272
    with av.open(str(out / "phone.mp4")) as file:
        lasts = sum(packet.duration or 0 for packet in file.demux(audio=0))
        assert lasts * file.streams.audio[0].time_base == pytest.approx(2, abs=0.15)


def test_one_image_goes_to_a_file(run: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn.png"
    assert run("predict", photos / "0.png", "--model", model, "--output", drawn)[0] == 0
    assert Image.open(drawn).size[0] >= 320
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drawn.png", "photos"]


def test_drawings_in_the_folder_are_no_images_to_look_at(
    run: Run, model: Path, photos: Path, seen: Seen
) -> None:
    command = ["predict", photos, "--recursive", "--model", model, "--output", photos / "out"]
    run(*command, *QUICK)
    run(*command, *QUICK)
    assert seen.images == 14


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["absent.png"], "absent.png: no such file"),
        (["{photos}", "--model", "cats"], "there is no model 'cats'"),
        (["{photos}", "--weights", "absent.pth"], "absent.pth"),
        (["{photos}", "--device", "tpu0"], "no device 'tpu0'"),
        (["{photos}", "--output", "{photos}"], "all images are drawings in"),
        (["{photos}", "--output", "drawn.png"], "5 images need a folder"),
        (["{photos}", "--output", "{photos}/0.png/x"], "cannot be written"),
        (["{photos}", "--opts", "MODEL.NO", "1"], "MODEL.NO"),
        (["{photos}", "--every", "2"], "--every is for videos: leave it out"),
        (["{photos}", "--track"], "--track is for videos without images beside them: leave it out"),
        (["{photos}", "--count-line", "0,0,9,9"], "--count-line needs --track"),
        (["{clip}", "--start", "5", "--end", "4"], "5 s and 4 s"),
        (["{clip}", "--start", "5"], "holds nothing from 5 s on: it lasts 0.9 s"),
        (["{clip}", "{twin}"], "/clip.mkv: its results would overwrite others in output/pred"),
        (["{clip}", "{twin}", "--output", "all.mp4"], "its results would overwrite others in ."),
        (["{clip}", "--output", "{clip}"], "would overwrite the video"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str],
    sentence: str,
    run: Run,
    model: Path,
    photos: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    twin = tmp_path / "other" / clip.name
    twin.parent.mkdir()
    twin.write_bytes(clip.read_bytes())
    words = [argument.format(photos=photos, clip=clip, twin=twin) for argument in arguments]
    if "--model" not in words:
        words[:0] = ["--model", str(model)]
    status, _, said = run("predict", *words)
    assert status == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert sentence in said


@pytest.mark.parametrize("option", [["--score-thresh", "1.5"], ["--batch-size", "0"], []])
def test_wrong_options_are_refused(run: Run, option: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("predict", *option)
    assert ended.value.code == 2
