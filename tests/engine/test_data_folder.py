from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from PIL import Image

from centernet2.data.converters import voc
from centernet2.engine import argument_parser, build_cfg, setup
from centernet2.errors import UserError


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    build_cfg()


def started(out: Path, *line: str) -> CfgNode:
    options = ["OUTPUT_DIR", str(out), "DATALOADER.NUM_WORKERS", "0", "MODEL.MASK_ON", "True"]
    return setup(argument_parser().parse_args([*line, *options]))


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 20)).save(path)
    return path


def listing(root: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in root.rglob("*"))


def lay_yolo(root: Path, splits: tuple[str, ...], row: str = "1 0.5 0.5 0.5 0.5") -> Path:
    for split in splits:
        for number in range(3):
            image = picture(root / split / "images" / f"{split}{number}.png")
            label = root / split / "labels" / f"{image.stem}.txt"
            label.parent.mkdir(exist_ok=True)
            label.write_text(row)
    text = "".join(f"{split}: {split}/images\n" for split in splits)
    (root / "data.yaml").write_text(f"{text}names: [owl, crow]\n")
    return root


def lay_voc(root: Path, name: str, label: str) -> Path:
    picture(root / f"{name}.png")
    (root / f"{name}.xml").write_text(
        f"<annotation><filename>{name}.png</filename><object><name>{label}</name><bndbox>"
        "<xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>12</ymax></bndbox></object></annotation>"
    )
    return root


def lay_labelme(root: Path, name: str) -> Path:
    picture(root / f"{name}.png")
    shape = {"label": "owl", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon"}
    (root / f"{name}.json").write_text(json.dumps({"shapes": [shape], "imagePath": f"{name}.png"}))
    return root


def names(dataset: str) -> list[str]:
    return sorted(Path(record["file_name"]).name for record in DatasetCatalog.get(dataset))


@pytest.mark.parametrize("by_description", [False, True])
def test_yolo_with_its_own_validation_part(tmp_path: Path, by_description: bool) -> None:
    root = lay_yolo(tmp_path / "in", ("train", "val"))
    before = listing(root)
    (tmp_path / "x").mkdir()
    place = tmp_path / "x" / ".." / "in"  # comes out plain
    place = place / "data.yaml" if by_description else place
    cfg = started(tmp_path / "out", "--data", str(place), "SOLVER.MAX_ITER", "7")
    assert str(root) == cfg.DATASETS.CUSTOM.TRAIN_IMAGES
    assert cfg.SOLVER.MAX_ITER == 7
    assert cfg.DATASETS.CUSTOM.CLASSES == ["owl", "crow"]
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 2
    assert not cfg.MODEL.MASK_ON
    assert cfg.DATASETS.TEST == ("custom_val",)
    assert str(tmp_path / "out" / "converted_train.json") == cfg.DATASETS.CUSTOM.TRAIN_JSON
    assert names("custom_train") == ["train0.png", "train1.png", "train2.png"]
    assert names("custom_val") == ["val0.png", "val1.png", "val2.png"]
    assert listing(root) == before


def test_a_part_is_kept_where_there_is_no_validation_part(tmp_path: Path) -> None:
    root = lay_yolo(tmp_path / "in", ("train",))
    cfg = started(tmp_path / "out", "--data", str(root), "--val-fraction", "0.3")
    assert cfg.DATASETS.TEST == ("custom_val",)
    assert len(names("custom_val")) == 1
    assert sorted(names("custom_train") + names("custom_val")) == [f"train{i}.png" for i in "012"]


def test_labelme_with_masks(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for name in ("a", "val/b"):
        lay_labelme((root / name).parent, Path(name).name)
    cfg = started(tmp_path / "out", "--data", str(root))
    assert cfg.MODEL.MASK_ON
    assert (names("custom_train"), names("custom_val")) == (["a.png"], ["b.png"])


def test_classes_of_two_folders_are_numbered_alike(tmp_path: Path) -> None:
    train, val = tmp_path / "one", tmp_path / "two"
    lay_voc(train, "a", "crow")
    lay_voc(train, "b", "owl")
    lay_voc(val, "c", "owl")
    started(tmp_path / "out", "--data", str(train), "--val", str(val))
    (record,) = DatasetCatalog.get("custom_val")
    assert record["annotations"][0]["category_id"] == 1
    # The saved config knows the classes too
    config = str(tmp_path / "out" / "config.yaml")
    started(tmp_path / "out2", "--config-file", config, "--eval-only", "--val", str(val))
    (record,) = DatasetCatalog.get("custom_val")
    assert record["annotations"][0]["category_id"] == 1
    lay_voc(val, "d", "heron")
    with pytest.raises(UserError, match="has other categories than the training data"):
        started(tmp_path / "out", "--data", str(train), "--val", str(val))


def test_a_json_file_for_training_and_a_folder_for_validation(tmp_path: Path) -> None:
    train = lay_voc(tmp_path / "one", "a", "crow")
    lay_voc(train, "b", "owl")
    started(tmp_path / "first", "--data", str(train), "--val-fraction", "0")
    files = [str(tmp_path / "first" / "converted_train.json"), str(train)]
    val = lay_voc(tmp_path / "two", "c", "owl")
    started(tmp_path / "out", "--data", *files, "--val", str(val))
    assert DatasetCatalog.get("custom_val")[0]["annotations"][0]["category_id"] == 1


def test_a_conversion_is_used_again_until_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = lay_voc(tmp_path / "in", "a", "crow")
    lay_voc(root, "b", "owl")
    read: list[Any] = []
    real = voc.agreed_size
    monkeypatch.setattr(voc, "agreed_size", lambda *args: read.append(args) or real(*args))
    for expected in (2, 2):
        started(tmp_path / "out", "--data", str(root))
        assert len(read) == expected
    os.utime(root / "b.png", ns=(1, 1))
    started(tmp_path / "out", "--data", str(root))
    assert len(read) == 4
    (tmp_path / "out" / "converted_train.json").write_text("[1]")
    started(tmp_path / "out", "--data", str(root))
    assert len(read) == 6


def test_images_elsewhere(tmp_path: Path) -> None:
    root = lay_yolo(tmp_path / "in", ("train",))
    (root / "yaml").mkdir()
    (root / "data.yaml").rename(root / "yaml" / "mine.yaml")
    path = root / "yaml" / "mine.yaml"
    path.write_text(f"path: {root}\n{path.read_text()}")
    cfg = started(tmp_path / "out", "--data", str(path), "--val-fraction", "0")
    assert str(root / "train" / "images") == cfg.DATASETS.CUSTOM.TRAIN_IMAGES
    assert len(names("custom_train")) == 3


@pytest.mark.parametrize("folder", ["coco_mini", "bccd", "penn_fudan"])
def test_cocos_format_is_used_where_it_lies(shared_data: Path, tmp_path: Path, folder: str) -> None:
    root = shared_data / folder
    cfg = started(tmp_path / "out", "--data", str(root))
    custom = cfg.DATASETS.CUSTOM
    images = "train2017" if folder == "coco_mini" else "images"
    assert str(root / images) == custom.TRAIN_IMAGES
    assert Path(custom.TRAIN_JSON).parts[-1] in ("train.json", "instances_train2017.json")
    assert Path(custom.VAL_JSON).parts[-1] in ("val.json", "instances_val2017.json")
    assert not (tmp_path / "out" / "converted_train.json").exists()


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no data set: there is no data.yaml"):
        started(tmp_path / "out", "--data", str(tmp_path))
    with pytest.raises(UserError, match=r"There is no folder .*gone\.yaml"):
        started(tmp_path / "out", "--data", str(tmp_path / "gone.yaml"))
    root = lay_yolo(tmp_path / "in", ("train",), row="7 0.5 0.5 0.5 0.5")
    with pytest.raises(UserError, match=r"train0\.txt, line 1: class 7 is not in the names"):
        started(tmp_path / "out", "--data", str(root))
    data = {"images": [], "annotations": [], "categories": []}
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "train.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"train\.json names no images"):
        started(tmp_path / "out", "--data", str(tmp_path / "c"))
    data["images"] = [{"file_name": "gone.png"}]  # type: ignore[list-item]
    (tmp_path / "c" / "train.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"gone\.png, an image of .*, is in no folder of .*; name"):
        started(tmp_path / "out", "--data", str(tmp_path / "c"))
