from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from detectron2.data import detection_utils as utils
from detectron2.data.detection_utils import read_image as detectron2s
from PIL import Image

from centernet2.data.image_reading import read_image


def ramp() -> Image.Image:
    rows, columns = np.mgrid[:37, :53]
    pixels = np.stack([rows * 6, columns * 4, (rows * columns) % 256], axis=2)
    return Image.fromarray(pixels.astype(np.uint8))


def assert_same(file: Path, image_format: str = "BGR") -> None:
    found, expected = read_image(str(file), image_format), detectron2s(str(file), image_format)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    assert found.flags.writeable
    assert found.flags.c_contiguous


@pytest.mark.parametrize(
    ("folder", "image_format"),
    [("coco_mini/train2017", "BGR"), ("coco_mini/val2017", "RGB"), ("penn_fudan/images", "BGR"),
     ("bccd/images", "BGR")],
)  # fmt: skip
def test_real_images_have_detectron2s_pixels(
    shared_data: Path, folder: str, image_format: str
) -> None:
    files = sorted((shared_data / folder).iterdir())
    for file in files[:: len(files) // 12]:
        assert_same(file, image_format)


@pytest.mark.parametrize("image_format", ["BGR", "RGB", "L", "YUV-BT.601"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_colour_spaces_of_jpeg_files(tmp_path: Path, mode: str, image_format: str) -> None:
    file = tmp_path / "image.jpg"
    ramp().convert(mode).save(file)
    assert_same(file, image_format)


@pytest.mark.parametrize(
    "options",
    [{"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2},
     {"restart_marker_blocks": 2}, {"quality": 5}, {"keep_rgb": True}],
)  # fmt: skip
def test_kinds_of_jpeg_files(tmp_path: Path, options: dict[str, int]) -> None:
    file = tmp_path / "image.jpg"
    ramp().save(file, **options)  # type: ignore[arg-type]
    assert_same(file)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_other_files_are_read_as_ever(tmp_path: Path, mode: str, suffix: str) -> None:
    file = tmp_path / f"image.{suffix}"
    ramp().convert("I" if mode == "I;16" else mode).convert(mode).save(file)
    assert_same(file)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("image_format", ["BGR", "RGB"])
def test_sixteen_bits_keep_their_upper_eight(
    tmp_path: Path, suffix: str, image_format: str
) -> None:
    values = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    file = tmp_path / f"image.{suffix}"
    Image.fromarray(values).save(file)
    pixels = read_image(str(file), image_format)
    assert pixels.dtype == np.uint8
    assert (pixels == np.arange(256).reshape(16, 16, 1)).all()


def test_the_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    file = tmp_path / "image.jpg"
    ramp().save(file, format="PNG")
    assert_same(file)


@pytest.mark.parametrize("orientation", range(10))  # 0 and 9 have no meaning
def test_exif_rotation_is_undone(tmp_path: Path, orientation: int) -> None:
    file = tmp_path / "image.jpg"
    exif = Image.Exif()
    exif[274] = orientation
    ramp().save(file, exif=exif)
    assert read_image(str(file), "BGR").shape[:2] == (
        (53, 37) if 5 <= orientation <= 8 else (37, 53)
    )
    assert_same(file)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_data_do_not_hide_an_image(tmp_path: Path) -> None:
    file = tmp_path / "image.jpg"
    ramp().save(file, exif=b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01")
    assert_same(file)


def test_garbled_data_and_what_follows_the_image(tmp_path: Path) -> None:
    ramp().save(tmp_path / "whole.jpg", quality=95)
    data = bytearray((tmp_path / "whole.jpg").read_bytes())
    middle = len(data) - 400
    data[middle : middle + 20] = bytes((7 * value + 13) % 255 for value in data[middle:][:20])
    (tmp_path / "garbled.jpg").write_bytes(data + b"and more")
    assert_same(tmp_path / "garbled.jpg")


@pytest.mark.parametrize("kept", [0, 20, -2, -60])
def test_truncated_files_are_refused_with_detectron2s_error(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "image.jpg"
    ramp().save(file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(OSError) as expected:  # noqa: PT011 (the message is compared)
        detectron2s(str(file), "BGR")
    with pytest.raises(OSError, match="truncated|cannot identify") as found:
        read_image(str(file), "BGR")
    assert type(found.value) is type(expected.value)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.jpg"):
        read_image(str(tmp_path / "absent.jpg"), "BGR")


def test_common_jpeg_files_take_the_fast_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "image.jpg"
    ramp().save(file)

    def slow(*_: object, **__: object) -> None:
        raise AssertionError("read by Detectron2")

    monkeypatch.setattr(utils, "read_image", slow)
    assert read_image(str(file), "BGR").shape == (37, 53, 3)
    with pytest.raises(AssertionError, match="read by Detectron2"):
        read_image(str(file), "L")
