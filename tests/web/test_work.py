from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from centernet2 import Detector
from centernet2.errors import UserError
from centernet2.inference.excerpt import WHOLE, Excerpt
from centernet2.inference.video import VideoReader
from centernet2.web.results import Look
from centernet2.web.uploads import Limits, Upload
from centernet2.web.work import Step, Work, draw_picture, draw_video, look_at

PART = Excerpt(Fraction(4), Fraction(5), every=12)


@pytest.fixture(scope="module")
def film(street_video: Path) -> Upload:
    return Upload(street_video, True, "bikes.mp4")


@pytest.fixture(scope="module")
def work(film: Upload, detector: Detector) -> Work:
    """What the shipped model found in three frames."""
    *steps, last = look_at(film, {"pedestrian": detector}, PART, Limits())
    assert all(isinstance(step, Step) for step in steps)
    assert isinstance(last, list)
    return last[0]


def test_findings_are_those_of_the_detector(work: Work, film: Upload, detector: Detector) -> None:
    expected = list(detector.stream(film.path, excerpt=PART))
    assert [kept.found.source.frame for kept in work.pictures] == [100, 112, 124]
    assert work.rate.endswith(("frames/s", "s/frame"))
    for kept, found in zip(work.pictures, expected):
        again = kept.with_masks()
        np.testing.assert_array_equal(again.boxes, found.boxes)
        np.testing.assert_array_equal(again.masks, found.masks)
    assert sum(len(found) for found in expected) > 0


def test_drawn_video_has_the_frames_their_times_and_what_the_look_chooses(
    work: Work, film: Upload, tmp_path: Path
) -> None:
    differs = []
    for name, look in (("none.mp4", Look(1.0)), ("all.mp4", Look(0.05))):
        assert draw_video(work, look, tmp_path / name) == []
        with VideoReader(tmp_path / name) as drawn, VideoReader(film.path, PART) as plain:
            pairs = list(zip(drawn, plain))
            assert [ours.time for ours, _ in pairs] == [0, Fraction(12, 25), Fraction(24, 25)]
            differs.append(max(np.abs(a.image.astype(int) - b.image).mean() for a, b in pairs))
    assert differs[0] < 3 < differs[1]  # of 255: what the encoder changes, and boxes


def test_a_frame_is_drawn_where_it_is_in_the_file(work: Work, film: Upload) -> None:
    with VideoReader(film.path, PART) as reader:
        frames = [frame.image for frame in reader]
    for place, frame in enumerate(frames):
        drawing, kept = draw_picture(work, place, Look(1.0))
        assert len(kept.found) == 0
        np.testing.assert_array_equal(drawing, frame)
    drawing, kept = draw_picture(work, 1, Look(0.05, masks=False))
    assert len(kept.found) > 0
    assert (drawing != frames[1]).any()


def test_a_file_that_states_no_length_is_cut_off(film: Upload, detector: Detector) -> None:
    with pytest.raises(UserError, match=r"^bikes\.mp4: goes on for more than the 1 s"):
        list(look_at(film, {"a": detector}, Excerpt(every=80), Limits(video_seconds=1)))


def test_a_file_that_is_gone_is_told(work: Work, detector: Detector, tmp_path: Path) -> None:
    gone = Upload(tmp_path / "gone.png", False, "gone.png")
    with pytest.raises(UserError, match=r"^gone\.png: no such file"):
        list(look_at(gone, {"a": detector}, WHOLE, Limits()))


def test_a_drawing_that_cannot_be_written_is_told_without_folders(
    work: Work, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^drawn\.mp4: cannot be written"):
        draw_video(work, Look(), tmp_path / "file" / "drawn.mp4")
