from __future__ import annotations

import base64
import importlib.util
import io
import json
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "datasets" / "convert.py"


@pytest.fixture(scope="module")
def convert() -> ModuleType:
    spec = importlib.util.spec_from_file_location("convert", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_split_is_written(
    convert: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "valid").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "valid" / "a.png")
    (tmp_path / "valid" / "a.txt").write_text("0 0.5 0.5 0.5 0.5")
    (tmp_path / "data.yaml").write_text("{val: valid, names: [owl]}")
    output = tmp_path / "val.json"
    assert convert.main([str(tmp_path), str(output), "--split", "val"]) == 0
    assert json.loads(output.read_text())["annotations"][0]["bbox"] == [1, 1, 2, 2]
    assert "1 images, 1 objects, 1 classes" in capsys.readouterr().out


def test_pascal_voc_is_recognised(convert: ModuleType, tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "a.jpg")
    (tmp_path / "a.xml").write_text(
        "<annotation><filename>a.jpg</filename><size><width>4</width><height>3</height></size>"
        "</annotation>"
    )
    output = tmp_path / "train.json"
    assert convert.main([str(tmp_path), str(output)]) == 0
    assert json.loads(output.read_text())["images"][0]["height"] == 3


def test_labelme_is_recognised_and_its_embedded_images_are_written(
    convert: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (4, 3)).save(stream, "PNG")
    content = base64.b64encode(stream.getvalue()).decode("ascii")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").write_text(
        json.dumps({"shapes": [], "imagePath": "b.png", "imageData": content})
    )
    assert convert.main([str(tmp_path / "in"), str(tmp_path / "out" / "train.json")]) == 0
    images = tmp_path / "out" / "train_images"
    assert capsys.readouterr().out.endswith(f"its image folder is {images}\n")
    (image,) = json.loads((tmp_path / "out" / "train.json").read_text())["images"]
    assert (images / image["file_name"]).is_file()
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "holds no data set: there is no data.yaml"),
        (["--format", "labelme"], "has no JSON files of LabelMe"),
        (["--format", "voc"], "has no XML files"),
        (["--format", "yolo"], "data.yaml cannot be read"),
    ],
)
def test_a_mistake_is_one_sentence(
    convert: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    assert convert.main([str(tmp_path), str(tmp_path / "a.json"), *options]) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert message in text
    assert not (tmp_path / "a.json").exists()


def test_no_folder(convert: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert.main([str(tmp_path / "gone"), str(tmp_path / "a.json")]) == 2
    assert "There is no folder" in capsys.readouterr().err
