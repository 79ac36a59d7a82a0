from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.structures import Instances

from centernet2.errors import UserError
from centernet2.inference.colors import color_of
from centernet2.inference.excerpt import Excerpt
from centernet2.inference.results import ResultsWriter
from centernet2.inference.sinks import Sinks
from centernet2.inference.streams import detect_camera, detect_video, video_path
from centernet2.inference.video import Frame, VideoReader
from centernet2.inference.video_writer import VideoWriter

Make = Callable[..., Instances]


class Predictor:
    """Finds two objects, in another order at each frame; ``calls`` frames in all."""

    class_names = ("person",)

    def __init__(self, make: Make, fails_at: int | None = None) -> None:
        self.make, self.fails_at = make, fails_at
        self.frames = 0
        self.batches: list[int] = []

    def __call__(self, images: Sequence[np.ndarray]) -> list[Instances]:
        self.batches.append(len(images))
        return [self.find(image) for image in images]

    def find(self, image: np.ndarray) -> Instances:
        self.frames += 1
        if self.frames == self.fails_at:
            raise KeyboardInterrupt
        boxes = [[20, 40, 60, 90], [100, 40, 140, 90]]
        found = self.make(image.shape[:2], boxes[:: (-1) ** (self.frames + 1)])
        found.pred_classes[:] = 0
        return found


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Seven grey frames, 0.1 s apart, 200x120."""
    path = tmp_path / "clip.mkv"
    with VideoWriter(path, rate=Fraction(10)) as writer:
        for i in range(7):
            image = np.full((120, 200, 3), 128, dtype=np.uint8)
            writer.write(Frame(image, Fraction(i, 10), Fraction(1, 10)))
    return path


def test_video_is_drawn_frame_by_frame(clip: Path, tmp_path: Path, make_instances: Make) -> None:
    predictor = Predictor(make_instances)
    with ResultsWriter(tmp_path / "r.json", [1]) as results:
        problems = detect_video(predictor, clip, tmp_path / "out.mp4", Sinks(results), 3)
    assert problems == []
    assert predictor.batches == [3, 3, 1]
    entries = json.loads((tmp_path / "r.json").read_text())
    assert [e["image_id"] for e in entries] == [i // 2 for i in range(14)]
    assert [e["time"] for e in entries[::2]] == pytest.approx([i / 10 for i in range(7)])
    assert entries[0]["file_name"] == "clip.mkv"
    with VideoReader(tmp_path / "out.mp4") as reader:
        drawn = list(reader)
    assert [float(f.time) for f in drawn] == pytest.approx([i / 10 for i in range(7)])
    assert all((f.image != 128).mean() > 0.02 for f in drawn)


def test_objects_keep_their_colours_through_a_video(
    clip: Path, tmp_path: Path, make_instances: Make
) -> None:
    drawn = []

    class Watcher:
        def show(self, image: np.ndarray, wait: bool) -> bool:
            assert not wait
            drawn.append(image)
            return len(drawn) < 5

    detect_video(Predictor(make_instances), clip, sinks=Sinks(window=Watcher()))
    assert len(drawn) == 5
    for image in drawn:
        assert tuple(image[60, 20]) == color_of(0)
        assert tuple(image[60, 100]) == color_of(1)


def test_followed_objects_have_ids_in_the_file_and_trails_in_the_drawing(
    clip: Path, tmp_path: Path, make_instances: Make
) -> None:
    tracking = pytest.importorskip("centernet2.inference.tracking")
    pytest.importorskip("trackers")
    tracker = tracking.Tracker(0.5, line=(80, 119, 80, 0))
    with ResultsWriter(tmp_path / "r.json", [1]) as results:
        detect_video(
            Predictor(make_instances),
            clip,
            tmp_path / "out.mp4",
            Sinks(results),
            batch_size=2,
            excerpt=Excerpt(every=2),
            tracker=tracker,
        )
    entries = json.loads((tmp_path / "r.json").read_text())
    assert [e["image_id"] for e in entries] == [0, 0, 2, 2, 4, 4, 6, 6]
    assert [e.get("track_id") for e in entries[:2]] == [None, None]
    ids = {(e["bbox"][0], e["track_id"]) for e in entries[2:]}
    assert ids in ({(20, 1), (100, 2)}, {(20, 2), (100, 1)})
    assert tracker.summary(["person"]) == (
        "distinct objects: 2 person; line crossed: 0 to its left, 0 to its right"
    )
    with VideoReader(tmp_path / "out.mp4") as reader:
        last = list(reader)[-1].image
    assert last[60, 80].min() > 200  # the line, in white


def test_interrupted_video_plays(clip: Path, tmp_path: Path, make_instances: Make) -> None:
    with pytest.raises(KeyboardInterrupt):
        detect_video(Predictor(make_instances, fails_at=5), clip, tmp_path / "out.mp4")
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert len(list(reader)) == 4


def test_damage_is_reported(street_video: Path, tmp_path: Path, make_instances: Make) -> None:
    data = bytearray(street_video.read_bytes())
    data[100_000:130_000] = bytes((7 * byte + 13) % 256 for byte in data[100_000:130_000])
    (tmp_path / "damaged.mp4").write_bytes(data)
    (problem,) = detect_video(Predictor(make_instances), tmp_path / "damaged.mp4", batch_size=8)
    assert "damaged frames were left out" in problem


def test_output_of_a_video(tmp_path: Path) -> None:
    source = tmp_path / "in.avi"
    assert video_path(source, tmp_path) == tmp_path / "in.mp4"
    assert video_path(source, tmp_path / "new") == tmp_path / "new" / "in.mp4"
    assert video_path(source, tmp_path / "out.mkv") == tmp_path / "out.mkv"
    for output in (tmp_path, tmp_path / "in.mp4"):
        with pytest.raises(UserError, match="would overwrite"):
            video_path(tmp_path / "in.mp4", output)


class FakeCamera:
    """Five frames, then the user presses Ctrl-C."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.left = 5
        self.released = False

    def isOpened(self) -> bool:
        return self.index == 1

    def get(self, key: int) -> float:
        return 20.0 if key == cv2.CAP_PROP_FPS else 0.0

    def read(self) -> tuple[bool, np.ndarray]:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return True, np.full((120, 200, 3), 128, dtype=np.uint8)

    def release(self) -> None:
        self.released = True


def test_camera_is_recorded_until_ctrl_c(
    tmp_path: Path, make_instances: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    cameras = []

    def opened(index: int) -> FakeCamera:
        cameras.append(FakeCamera(index))
        return cameras[-1]

    monkeypatch.setattr(cv2, "VideoCapture", opened)
    assert detect_camera(Predictor(make_instances), 1, tmp_path) == []
    with VideoReader(tmp_path / "webcam.mp4") as reader:
        assert len(list(reader)) == 5
    with pytest.raises(UserError, match="--webcam 0"):
        detect_camera(Predictor(make_instances), 0, tmp_path / "none.mp4")
    assert all(camera.released for camera in cameras)
