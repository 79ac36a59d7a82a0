from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from centernet2.data.converters.recognise import recognise
from centernet2.errors import UserError

COCO = '{"images": [], "annotations": [], "categories": []}'


def lay(root: Path, **files: str) -> Path:
    """Files by name, where "__" stands for a slash and the last "_" for the dot."""
    for name, text in files.items():
        path = root / ".".join(name.replace("__", "/").rsplit("_", 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_yolo(tmp_path: Path) -> None:
    lay(tmp_path, data_yaml="{names: [a], train: t, val: v}", a_json=COCO, a_xml="")
    for place in (tmp_path, tmp_path / "data.yaml"):
        source = recognise(place)
        assert (source.kind, source.path) == ("yolo", tmp_path / "data.yaml")
        assert source.folder == tmp_path
        assert [source.has(split) for split in ("train", "val", "test")] == [True, True, False]


def test_yolo_by_another_name(tmp_path: Path) -> None:
    lay(tmp_path, a_yaml="MODEL: [", b_yaml="{MODEL: 1}", c_yml="{names: [a], train: t}")
    assert recognise(tmp_path).path == tmp_path / "c.yml"
    (tmp_path / "c.yml").unlink()
    with pytest.raises(UserError, match="holds no data set"):
        recognise(tmp_path)


def test_pascal_voc(tmp_path: Path) -> None:
    source = recognise(lay(tmp_path, Annotations__a_xml="", note_json=COCO))
    assert (source.kind, source.has("val")) == ("voc", False)
    assert recognise(lay(tmp_path, valid__a_xml="")).has("val")
    lay(tmp_path, ImageSets__Main__train_txt="")
    assert not recognise(tmp_path).has("val")
    assert recognise(lay(tmp_path, ImageSets__Main__val_txt="")).has("val")


def test_labelme(tmp_path: Path) -> None:
    lay(tmp_path, a_json="[", b_json="{}", c_json='{"shapes": [], "imagePath": "c.png"}')
    source = recognise(tmp_path)
    assert (source.kind, source.path, source.has("val")) == ("labelme", tmp_path, False)
    lay(tmp_path, val__d_json="")
    assert recognise(tmp_path).has("val")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"latest_json": COCO}, {"train": "latest.json"}),
        ({"train_json": COCO, "val_json": COCO}, {"train": "train.json", "val": "val.json"}),
        (
            {"train___annotations.coco_json": COCO, "valid___annotations.coco_json": COCO},
            {"train": "train/_annotations.coco.json", "val": "valid/_annotations.coco.json"},
        ),
    ],
)
def test_coco(tmp_path: Path, files: Any, found: dict[str, str]) -> None:
    source = recognise(lay(tmp_path, **files))
    assert source.kind == "coco"
    assert source.files == {split: tmp_path / name for split, name in found.items()}
    with pytest.raises(UserError, match="is in COCO's format already"):
        source.convert("train", tmp_path)


def test_cocos_own_folder(shared_data: Path) -> None:
    root = shared_data / "coco_mini"
    assert recognise(root).files == {
        split: root / "annotations" / f"instances_{split}2017.json" for split in ("train", "val")
    }


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no data set: there is no data.yaml .*, no XML file .*, and no JSON"),
        ({"a_json": "{}", "b_txt": ""}, "holds no data set"),
        ({"a_json": "{"}, r"a\.json, line 1, is not valid JSON"),
        (
            {"a_json": COCO, "b_json": COCO},
            r"several JSON files for 'train' \(.*a\.json, .*b\.json",
        ),
        ({"val_json": COCO}, "has no JSON file with 'train' in its name"),
    ],
)
def test_what_cannot_be_told(tmp_path: Path, files: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        recognise(lay(tmp_path, **files))


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no folder"):
        recognise(tmp_path / "data.yaml")


def test_splits_come_out_of_what_was_found(tmp_path: Path) -> None:
    shapes = json.dumps({"shapes": [], "imagePath": "gone.png"})
    source = recognise(lay(tmp_path, a_json=shapes))
    with pytest.raises(UserError, match=r"gone\.png is not there"):
        source.convert("train", tmp_path)
