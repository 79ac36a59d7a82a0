"""Image files that are broken, elsewhere, turned or in both sets."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from centernet2.data.doctor import check_dataset
from centernet2.errors import UserError


@pytest.fixture
def folder(shared_data: Path, tmp_path: Path) -> Path:
    """Eight real images and their annotations, to be broken."""
    data = json.loads((shared_data / "bccd" / "val.json").read_text())
    data["images"] = data["images"][:8]
    kept = {image["id"] for image in data["images"]}
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] in kept]
    (tmp_path / "images").mkdir()
    for image in data["images"]:
        source = next((shared_data / "bccd").rglob(image["file_name"]))
        shutil.copyfile(source, tmp_path / "images" / image["file_name"])
    write(tmp_path, data)
    return tmp_path


def write(folder: Path, data: Any) -> None:
    (folder / "train.json").write_text(json.dumps(data))


def read(folder: Path) -> Any:
    return json.loads((folder / "train.json").read_text())


def found(folder: Path) -> set[tuple[str, int | None]]:
    report = check_dataset(folder / "train.json", folder / "images")
    return {(f.kind, f.index) for f in report.findings}


def file_of(folder: Path, index: int) -> Path:
    return folder / "images" / read(folder)["images"][index]["file_name"]


def test_real_images_are_clean(folder: Path) -> None:
    assert found(folder) == set()


def test_missing_unreadable_and_truncated(folder: Path) -> None:
    file_of(folder, 0).unlink()
    file_of(folder, 1).write_text("<html>404</html>")
    file_of(folder, 2).write_bytes(file_of(folder, 2).read_bytes()[:-4000])
    file_of(folder, 3).write_bytes(b"")
    assert found(folder) == {
        ("image-missing", 0),
        ("image-unreadable", 1),
        ("image-truncated", 2),
        ("image-unreadable", 3),
    }


def test_size_mismatch(folder: Path) -> None:
    path = file_of(folder, 4)
    Image.open(path).resize((800, 600)).save(path)
    assert found(folder) == {("size-mismatch", 4)}


def test_exif_rotation_counts_for_the_size(folder: Path) -> None:
    path = file_of(folder, 5)
    image = Image.open(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    assert found(folder) == {("image-rotated", 5)}  # shown upright, it has the size of the JSON
    image.save(path, exif=exif)
    assert found(folder) == {("image-rotated", 5), ("size-mismatch", 5)}


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/passwd", "C:\\a.jpg", "x\\..\\..\\a.jpg"])
def test_names_that_leave_the_folder(folder: Path, name: str) -> None:
    data = read(folder)
    data["images"][6]["file_name"] = name
    write(folder, data)
    assert found(folder) == {("path-leaves-folder", 6)}


def test_a_link_out_of_the_folder(folder: Path) -> None:
    path = file_of(folder, 6)
    shutil.move(path, folder / "elsewhere.jpg")
    os.symlink(folder / "elsewhere.jpg", path)
    assert found(folder) == {("path-leaves-folder", 6)}


def test_a_name_with_a_zero_byte_is_missing(folder: Path) -> None:
    data = read(folder)
    data["images"][6]["file_name"] = "a\x00b.jpg"
    write(folder, data)
    assert found(folder) == {("image-missing", 6), ("text-broken", 6)}


def test_leakage(folder: Path, shared_data: Path) -> None:
    train = shared_data / "bccd" / "train.json"
    first, second = (image["file_name"] for image in json.loads(train.read_text())["images"][:2])
    images = shared_data / "bccd" / "images"
    shutil.copyfile(images / first, file_of(folder, 0))
    Image.open(images / second).resize((500, 375)).resize((640, 480)).save(
        file_of(folder, 1), quality=60
    )
    report = check_dataset(train, images, folder / "train.json", folder / "images")
    assert [(f.kind, f.index) for f in report.findings if f.kind == "leak-same-file"] == [
        ("leak-same-file", 0)
    ]
    alike = {f.index: f.detail for f in report.findings if f.kind == "leak-look-alike"}
    assert second in alike[1]
    assert first in report.findings[0].detail or first in report.findings[1].detail


def test_no_such_folder_is_one_sentence(folder: Path) -> None:
    with pytest.raises(UserError, match="is no folder"):
        check_dataset(folder / "train.json", folder / "nowhere")
