from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from centernet2.errors import UserError
from centernet2.inference.inputs import find_images, output_paths, read_image

Photo = Callable[..., Path]


def test_files_folders_and_patterns_are_expanded_in_order(photo: Photo, tmp_path: Path) -> None:
    b, a, c = photo("folder/b.PNG"), photo("folder/a.jpg"), photo("folder/deep/c.jpg")
    (tmp_path / "folder" / "notes.txt").write_text("no image")
    single, p1, p2 = photo("single.jpg"), photo("p1.webp"), photo("p2.webp")
    names = [str(single), str(tmp_path / "folder"), str(tmp_path / "p*.webp")]
    found = find_images(names)
    assert found.images == [single, a, b, p1, p2]
    assert found.problems == []
    assert find_images([str(tmp_path / "folder" / "**" / "*.jpg")]).images == [a, c]


def test_folders_are_listed_to_any_depth_if_asked(photo: Photo, tmp_path: Path) -> None:
    names = ["b.png", "a/z.JPG", "a/b/c.webp", "c/a.png"]
    paths = [photo(f"folder/{name}") for name in names]
    (tmp_path / "folder" / "a" / "notes.txt").write_text("no image")
    (tmp_path / "folder" / "folder.png").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    assert find_images([str(tmp_path / "folder")]).images == [paths[0]]
    found = find_images([str(tmp_path / "link")], recursive=True)
    assert found.images == sorted(tmp_path / "link" / name for name in names)
    assert found.places == sorted(paths)
    assert found.problems == []


def test_folder_that_cannot_be_read_is_told(
    photo: Photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = photo("folder/a.png")
    photo("folder/closed/b.png")
    real = os.scandir

    def scan(path: str) -> Any:
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scan)
    found = find_images([str(tmp_path / "folder")], recursive=True)
    assert found.images == [image]
    closed = tmp_path / "folder" / "closed"
    assert found.problems == [f"{closed}: the folder cannot be read (Permission denied)"]


def test_file_is_taken_once_and_whatever_its_suffix(photo: Photo, tmp_path: Path) -> None:
    path = photo("x.jpg")
    bare = tmp_path / "picture"
    bare.write_bytes(path.read_bytes())
    odd = photo("odd[1].jpg")
    names = [str(path), str(tmp_path), str(bare), str(odd), str(tmp_path / "." / "x.jpg")]
    assert find_images(names).images == [path, odd, bare]


def test_each_useless_name_is_reported(tmp_path: Path, photo: Photo) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "film.mp4").write_bytes(b"")
    good = photo("good.jpg")
    names = ["missing.jpg", "empty", "none*.png", "film.mp4", "good.jpg"]
    found = find_images([str(tmp_path / name) for name in names])
    assert found.images == [good]
    for problem, part in zip(
        found.problems,
        ["no such file", "holds no images", "matches no images", "a video, not an image"],
    ):
        assert part in problem
    assert len(found.problems) == 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_respected(orientation: int, tmp_path: Path) -> None:
    upright = np.zeros((40, 60, 3), dtype=np.uint8)
    upright[:20, :30, 0], upright[20:, 30:, 1] = 255, 255
    stored = {  # how a camera that is held so stores the picture
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), upright)


def test_every_kind_of_pixel_becomes_rgb(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)
    rgb = np.stack([ramp] * 3, axis=2)
    kinds = {
        "grey": Image.fromarray(ramp),
        "grey16": Image.fromarray(ramp.astype(np.uint16) * 257),
        "palette": Image.fromarray(ramp).convert("P"),
        "alpha": Image.fromarray(rgb).convert("RGBA"),
    }
    for name, image in kinds.items():
        image.save(tmp_path / f"{name}.png")
        read = read_image(tmp_path / f"{name}.png")
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, rgb, err_msg=name)


def test_unreadable_files_are_named_in_one_sentence(
    tmp_path: Path, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    whole = photo("whole.jpg", (300, 200))
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:-2000])
    for name in ("text.jpg", "empty.png", "cut.jpg", "missing.jpg"):
        with pytest.raises(UserError, match=name) as error:
            read_image(tmp_path / name)
        assert "\n" not in str(error.value)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match="decompression bomb"):
        read_image(whole)


def test_names_from_several_folders_do_not_collide(tmp_path: Path) -> None:
    names = ["a/x.jpg", "b/x.jpg", "b/y.jpg", "c/X.JPG", "one/s/z.png", "two/s/z.png", "g.gif"]
    paths = output_paths([tmp_path / name for name in names], tmp_path / "out")
    expected = ["a_x.jpg", "b_x.jpg", "y.jpg", "c_X.JPG", "one_s_z.png", "two_s_z.png", "g.gif.png"]
    assert paths == [tmp_path / "out" / name for name in expected]


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "a_b", "B"]), min_size=1, max_size=3),
        min_size=2,
        max_size=8,
        unique_by=lambda parts: tuple(parts),
    )
)
def test_drawings_are_always_distinct(files: list[list[str]]) -> None:
    images = [Path("/images", *parts[:-1], f"{parts[-1]}.jpg") for parts in files]
    paths = output_paths(images, Path("/out"))
    assert len({str(path).casefold() for path in paths}) == len(images)
    assert all(path.parent == Path("/out") and path.suffix == ".jpg" for path in paths)


def test_one_image_may_go_to_a_file(tmp_path: Path) -> None:
    assert output_paths([tmp_path / "a.jpg"], tmp_path / "b.png") == [tmp_path / "b.png"]
    assert output_paths([tmp_path / "a.jpg"], tmp_path / "b") == [tmp_path / "b" / "a.jpg"]
    with pytest.raises(UserError, match="need a folder"):
        output_paths([tmp_path / "a.jpg", tmp_path / "b.jpg"], tmp_path / "b.png")


def test_images_are_never_overwritten(photo: Photo, tmp_path: Path) -> None:
    path = photo("a.jpg")
    for output in (tmp_path, path):
        with pytest.raises(UserError, match="would overwrite"):
            output_paths([path], output)
