"""Odd, damaged and hostile image files, wherever images are read.

Each is either read, as what it shows, or refused in one sentence with its name.
"""

from __future__ import annotations

import itertools
import logging
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from detectron2.config import CfgNode
from PIL import Image

from centernet2.data.mapper import DetectionMapper
from centernet2.engine import build_cfg
from centernet2.engine.broken_images import BrokenImage, map_or_broken
from centernet2.engine.data_loader import TrainLoader
from centernet2.errors import UserError
from centernet2.inference.inputs import find_images, read_image

WIDTH, HEIGHT = 40, 24
# Red above, blue below: seen in every kind of file, and in which way up it is
TOP, BOTTOM = (200, 30, 40), (20, 40, 210)


def picture(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2], pixels[height // 2 :] = TOP, BOTTOM
    return Image.fromarray(pixels)


def sixteen_bits(path: Path) -> None:
    grey = np.full((HEIGHT, WIDTH), 200 << 8 | 7, np.uint16)
    grey[HEIGHT // 2 :] = 40 << 8
    Image.fromarray(grey).save(path)


def animated(path: Path, **options: Any) -> None:
    frames = [picture(), Image.new("RGB", (WIDTH, HEIGHT), "white")]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50, loop=0, **options)


def rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by a quarter
    picture().transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)


def damaged_exif(path: Path) -> None:
    picture().save(path, quality=95, exif=b"Exif\0\0" + b"\xff" * 40)


def palette(path: Path) -> None:
    picture().convert("P", palette=Image.Palette.ADAPTIVE).save(path)


def transparent_palette(path: Path) -> None:
    picture().convert("P", palette=Image.Palette.ADAPTIVE).save(path, transparency=0)


def writer(mode: str = "RGB", **options: Any) -> Callable[[Path], None]:
    return lambda path: picture().convert(mode).save(path, **options)


GREY = {"grey.png", "grey_alpha.png", "black_and_white.png", "16_bits.png", "16_bits.tif"}
WHOLE: dict[str, Callable[[Path], None]] = {
    "cmyk.jpg": writer("CMYK", quality=95),
    "ycbcr.tif": writer("YCbCr"),
    "lab.tif": writer("LAB"),
    "16_bits.png": sixteen_bits,
    "16_bits.tif": sixteen_bits,
    "palette.png": palette,
    "transparent_palette.png": transparent_palette,
    "grey.png": writer("L"),
    "grey_alpha.png": writer("LA"),
    "black_and_white.png": writer("1"),
    "alpha.png": writer("RGBA"),
    "progressive.jpg": writer(progressive=True, quality=95),
    "interlaced.webp": writer(lossless=True),
    "animated.gif": animated,
    "animated.webp": lambda path: animated(path, lossless=True),
    "animated.png": animated,
    "rotated.jpg": rotated,
    "damaged_exif.jpg": damaged_exif,
    "png_named.jpg": lambda path: picture().save(path, format="PNG"),
    "jpeg_named.png": lambda path: picture().save(path, format="JPEG", quality=95),
    "unicode \u00e9\u4e2d\U0001f600.png": writer(),
}


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG file of any size; no pixels follow."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        code = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", code)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def cut(name: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        whole = path.with_name(name)
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(noise).save(whole)
        data = whole.read_bytes()
        whole.unlink()
        path.write_bytes(data[: len(data) * 2 // 3])

    return write


def content(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


BROKEN: dict[str, Callable[[Path], None]] = {
    "cut.jpg": cut("whole.jpg"),
    "cut.png": cut("whole.png"),
    "cut.webp": cut("whole.webp"),
    "cut.tif": cut("whole.tif"),
    "cut.gif": cut("whole.gif"),
    "empty.jpg": lambda path: path.touch(),
    "bomb.png": content(png_header(60_000, 60_000)),
    "no_pixels.png": content(png_header(100, 100)),
    "no_size.png": content(png_header(0, 100)),
    "drawing.jpg": content(b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
    "document.jpg": content(b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\n%%EOF"),
    "page.png": content(b"<!DOCTYPE html><title>404 Not Found</title>"),
    "archive.png": content(b"PK\x03\x04" + bytes(50)),
    "only_magic.jpg": content(b"\xff\xd8\xff\xe0" + bytes(range(200))),
    "postscript.jpg": content(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n"),
    "folder.jpg": lambda path: path.mkdir(),
    "absent.jpg": lambda path: None,
}


def made(name: str, folder: Path) -> Path:
    path = folder / name
    {**WHOLE, **BROKEN}[name](path)
    return path


def shows_the_picture(pixels: npt.NDArray[Any], name: str, slack: int = 8) -> None:
    """(H, W, 3), RGB."""
    assert pixels.shape == (HEIGHT, WIDTH, 3) and pixels.dtype == np.uint8
    top, bottom = pixels[5, 20].astype(int), pixels[HEIGHT - 5, 20].astype(int)
    if name in GREY:
        assert np.ptp(top) == np.ptp(bottom) == 0
        assert (top > bottom).all() or name in ("grey.png", "grey_alpha.png", "black_and_white.png")
        return
    assert np.abs(top - TOP).max() <= slack and np.abs(bottom - BOTTOM).max() <= slack


# ------------------------------------------------------------------------------- demo and API


@pytest.mark.parametrize("name", WHOLE)
def test_odd_files_are_read_as_what_they_show(name: str, tmp_path: Path) -> None:
    path = made(name, tmp_path)
    assert find_images([str(tmp_path)]).images == [path]
    shows_the_picture(read_image(path), name, slack=25 if name in ("cmyk.jpg", "lab.tif") else 8)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_by_name(name: str, tmp_path: Path) -> None:
    path = made(name, tmp_path)
    with pytest.raises(UserError) as error:
        read_image(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


# ------------------------------------------------------------------- training and evaluation


@pytest.fixture(scope="module")
def cfg() -> CfgNode:
    return build_cfg(
        overrides=["INPUT.MIN_SIZE_TEST", "0", "INPUT.MIN_SIZE_TRAIN", "(0,)",
                   "INPUT.RANDOM_FLIP", "none", "INPUT.FORMAT", "RGB", "MODEL.MASK_ON", "False"]
    )  # fmt: skip


def record(path: Path, width: int = WIDTH, height: int = HEIGHT) -> dict[str, Any]:
    annotation = {"bbox": [0.0, 0.0, 9.0, 9.0], "bbox_mode": 1, "category_id": 0}
    size = {"width": width, "height": height}
    return {"file_name": str(path), "image_id": 1, **size, "annotations": [annotation]}


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", sorted(WHOLE))
def test_mapper_reads_odd_files(name: str, train: bool, cfg: CfgNode, tmp_path: Path) -> None:
    mapper = DetectionMapper(cfg, is_train=train)
    sample = map_or_broken(mapper, record(made(name, tmp_path)))
    assert not isinstance(sample, BrokenImage), sample
    pixels = sample["image"].permute(1, 2, 0).numpy()
    shows_the_picture(pixels, name, slack=25 if name in ("cmyk.jpg", "lab.tif") else 8)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", BROKEN)
def test_mapper_tells_broken_files(name: str, train: bool, cfg: CfgNode, tmp_path: Path) -> None:
    path = made(name, tmp_path)
    broken = map_or_broken(DetectionMapper(cfg, is_train=train), record(path))
    assert isinstance(broken, BrokenImage)
    assert broken.file == str(path) and broken.reason and "\n" not in broken.reason


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (20_000, 1), (1, 20_000)])
@pytest.mark.parametrize("way", ["ResizeShortestEdge", "EfficientDetResizeCrop"])
def test_mapper_keeps_a_pixel_of_any_image(
    size: tuple[int, int], way: str, train: bool, tmp_path: Path
) -> None:
    square = "square" if way == "EfficientDetResizeCrop" else "default"
    keys = ["INPUT.CUSTOM_AUG", way, "INPUT.TEST_INPUT_TYPE", square, "MODEL.MASK_ON", "False"]
    picture(*size).save(tmp_path / "x.png")
    mapper = DetectionMapper(build_cfg(overrides=keys), is_train=train)
    sample = map_or_broken(mapper, record(tmp_path / "x.png", *size))
    assert not isinstance(sample, BrokenImage), sample
    assert min(sample["image"].shape) >= 1


def test_an_image_of_another_size_than_annotated_is_broken(cfg: CfgNode, tmp_path: Path) -> None:
    path = made("grey.png", tmp_path)
    broken = map_or_broken(DetectionMapper(cfg, is_train=True), record(path, 99, 7))
    assert isinstance(broken, BrokenImage) and "got (40, 24), expect (99, 7)" in broken.reason


def test_an_epoch_goes_over_all_of_them(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = list(itertools.chain(*itertools.zip_longest(WHOLE, BROKEN)))
    records = [record(made(name, tmp_path)) for name in names if name]
    loader = TrainLoader(
        records,
        DetectionMapper(cfg, is_train=True),
        repeat_factors=torch.ones(len(records)),
        batch_size=2,
        max_broken=-1,
    )
    with caplog.at_level(logging.WARNING):
        batches = list(itertools.islice(loader, len(records)))  # two epochs
    assert all(len(batch) == 2 for batch in batches)
    assert len(loader.broken) == len(BROKEN)
    text = caplog.text
    assert all(text.count(f"{tmp_path / name} cannot be used") == 1 for name in BROKEN)
