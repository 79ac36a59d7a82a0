from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from centernet2.errors import UserError
from centernet2.inference.excerpt import Excerpt
from centernet2.inference.sources import Source, read_sources

Photo = Callable[..., Path]


def read(images: Any, videos: bool = False, skip_broken: bool = False) -> list[Source]:
    pairs = list(read_sources(images, "RGB", videos=videos, skip_broken=skip_broken))
    for source, pixels in pairs:
        np.testing.assert_array_equal(source.image(), pixels)
    return [source for source, _ in pairs]


def test_paths_folders_patterns_and_pixels_go_together(photo: Photo, tmp_path: Path) -> None:
    paths = [photo(name) for name in ("a.png", "f/x.png", "f/y.png", "g/deep/z.png")]
    pixels = np.zeros((4, 5, 3), np.uint8)
    mixed = [paths[0], str(tmp_path / "f"), [str(tmp_path / "g/**/*.png"), pixels]]
    mixed += [torch.zeros(2, 3, 6, 7), Image.new("L", (9, 8)), paths[0]]
    sources = read(mixed)
    assert [s.path for s in sources] == [*paths, None, None, None, None, paths[0]]
    assert [s.image().shape[:2] for s in sources[4:8]] == [(4, 5), (6, 7), (6, 7), (8, 9)]


def test_one_image_needs_no_list(photo: Photo) -> None:
    path = photo("a.png")
    assert [s.path for s in read(path)] == [path]
    assert len(read(Image.new("RGB", (4, 4)))) == 1
    assert len(read(np.zeros((4, 4), np.uint8))) == 1
    assert len(read(np.zeros((3, 4, 4, 3), np.uint8))) == 3


def test_nothing_is_read_before_it_is_asked_for() -> None:
    taken = []

    def endless() -> Iterator[np.ndarray]:
        while True:
            taken.append(1)
            yield np.zeros((4, 4), np.uint8)

    sources = read_sources(endless(), "RGB", videos=True, skip_broken=False)
    assert not taken
    next(sources)
    assert len(taken) == 1


def test_broken_files_stop_or_are_left_out(
    photo: Photo, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = photo("f/good.png"), tmp_path / "f" / "bad.png"
    bad.write_text("no image")
    with pytest.raises(UserError, match=r"bad\.png: not an image"):
        read(tmp_path / "f")
    with caplog.at_level(logging.WARNING, "centernet2"):
        sources = read([tmp_path / "f", tmp_path / "absent.png"], skip_broken=True)
    assert [s.path for s in sources] == [good]
    messages = [record.getMessage() for record in caplog.records]
    assert [m.rpartition("/")[2] for m in messages] == [
        "bad.png: not an image that can be read",
        "absent.png: no such file",
    ]


@pytest.mark.parametrize("wrong", [3, None, b"bytes", {"image": 1}, [[np.zeros((4, 4)), 7]]])
def test_what_is_no_image_is_named(wrong: object) -> None:
    with pytest.raises(UserError, match="is no image: give a path"):
        read(wrong)


@pytest.mark.slow
def test_videos_give_their_frames_where_they_may(street_video: Path) -> None:
    sources = read_sources(street_video, "RGB", videos=True, skip_broken=False)
    (first, pixels), (second, _) = next(sources), next(sources)
    sources.close()
    assert (first.path, first.frame, first.time) == (street_video, 0, 0)
    assert (second.frame, second.time) == (1, pytest.approx(0.04))
    assert first.image() is pixels
    assert pixels.shape == (272, 640, 3)
    excerpt = Excerpt(Fraction(2), Fraction(3), every=10)
    part = read_sources(street_video, "RGB", videos=True, skip_broken=False, excerpt=excerpt)
    assert [(s.frame, s.time) for s, _ in part] == [(50, 2.0), (60, 2.4), (70, 2.8)]
    with pytest.raises(UserError, match=r"a video, not an image: use stream\(\)"):
        read(street_video)


def test_only_videos_are_sent_to_the_stream(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    with pytest.raises(UserError, match="the folder holds no images$"):
        read(tmp_path / "videos")
