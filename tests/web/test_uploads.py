from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from centernet2.errors import UserError
from centernet2.inference.excerpt import WHOLE, Excerpt
from centernet2.web.uploads import Limits, check_stretch, check_upload

LIMITS = Limits(upload_mb=1, video_seconds=5, megapixels=1)


def picture(path: Path, size: tuple[int, int] = (40, 30)) -> Path:
    Image.fromarray(np.zeros((size[1], size[0], 3), dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff", "ppm"])
def test_images_of_usual_kinds_are_taken(suffix: str, tmp_path: Path) -> None:
    path = picture(tmp_path / f"a b.{suffix}")
    taken = check_upload(str(path), tmp_path, LIMITS)
    assert (taken.path, taken.is_video, taken.text) == (path, False, f"a b.{suffix}: 40 × 30")


def test_video_is_described_and_its_stretch_limited(street_video: Path) -> None:
    taken = check_upload(str(street_video), street_video.parent, LIMITS)
    assert taken.is_video
    assert taken.text == "bikes.mp4: 640 × 272, 10.0 s, 25 frames/s"
    with pytest.raises(UserError, match=r"^bikes\.mp4: lasts 10 s, and this page takes 5 s"):
        check_stretch(taken.path, WHOLE, LIMITS)
    with pytest.raises(UserError, match="this stretch lasts 6 s"):
        check_stretch(taken.path, Excerpt(Fraction(4)), LIMITS)
    check_stretch(taken.path, Excerpt(Fraction(4), Fraction(9)), LIMITS)
    with pytest.raises(UserError, match=r"^bikes\.mp4: holds nothing from 11 s on"):
        check_stretch(taken.path, Excerpt(Fraction(11)), LIMITS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"hello"),
        ("empty.jpg", b""),
        ("cut.jpg", b"\xff\xd8\xff\xe0"),
        ("page.png", b"<html></html>"),
        ("program.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"),
        ("film.mp4", b"no film"),
        ("list.mp4", b"ffconcat version 1.0\nfile other.mp4\n"),
    ],
)
def test_anything_else_is_one_sentence_without_folders(
    name: str, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="read") as refused:
        check_upload(str(tmp_path / name), tmp_path, LIMITS)
    assert str(refused.value).startswith(f"{name}: ")
    assert str(tmp_path) not in str(refused.value)


def test_large_pictures_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    path = picture(tmp_path / "wide.png", (1001, 1000))
    with pytest.raises(UserError, match=r"1001 × 1000 pixels are more than the 1 megapixels"):
        check_upload(str(path), tmp_path, LIMITS)
    head = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    chunks = [struct.pack(">I", 13), head, struct.pack(">I", zlib.crc32(head))]
    chunks += [bytes(4), b"IDAT", struct.pack(">I", zlib.crc32(b"IDAT"))]
    (tmp_path / "vast.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    with pytest.raises(UserError, match=r"^vast\.png: its pixels are more than the 1 megapixels"):
        check_upload(str(tmp_path / "vast.png"), tmp_path, LIMITS)
    (tmp_path / "heavy.bin").write_bytes(bytes(2**20 + 1))
    with pytest.raises(UserError, match=r"^heavy\.bin: larger than the 1 MB"):
        check_upload(str(tmp_path / "heavy.bin"), tmp_path, LIMITS)


def test_nothing_outside_the_folder_is_opened(tmp_path: Path) -> None:
    inside = tmp_path / "uploads"
    inside.mkdir()
    secret = picture(tmp_path / "secret.png")
    (inside / "link.png").symlink_to(secret)
    for sent in (
        str(secret),
        f"{inside}/../secret.png",
        f"{inside}/link.png",
        f"{inside}/absent.png",
        str(inside),
        "/dev/zero",
        "http://127.0.0.1/x.png",
        "",
    ):
        with pytest.raises(UserError, match="this file is not here"):
            check_upload(sent, inside, LIMITS)
