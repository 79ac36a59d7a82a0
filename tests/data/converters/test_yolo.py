from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from centernet2.data.converters import convert_yolo
from centernet2.data.converters.yolo import _geometry
from centernet2.data.datasets.coco_summary import summarize_coco
from centernet2.errors import UserError


def write(root: Path, label: str | None, names: Any = ("owl", "crow")) -> Path:
    for part in ("images/train/deep", "labels/train/deep"):
        (root / part).mkdir(parents=True)
    Image.new("RGB", (40, 20)).save(root / "images/train/deep/a.png")
    Image.new("RGB", (40, 20)).save(root / "images/train/b.png")
    if label is not None:
        (root / "labels/train/deep/a.txt").write_text(label)
    names = names if isinstance(names, dict) else list(names)
    text = json.dumps({"path": "/elsewhere", "train": "images/train", "names": names})
    (root / "data.yaml").write_text(text)
    return root


def test_boxes_and_polygons(tmp_path: Path) -> None:
    root = write(tmp_path, "1 0.5 0.5 0.25 0.5\n\n0 0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6\n")
    data = convert_yolo(root, "train")
    assert data["categories"] == [{"id": 1, "name": "owl"}, {"id": 2, "name": "crow"}]
    assert [(i["file_name"], i["width"], i["height"]) for i in data["images"]] == [
        ("images/train/b.png", 40, 20),
        ("images/train/deep/a.png", 40, 20),
    ]
    box, polygon = data["annotations"]
    assert (box["image_id"], box["category_id"]) == (2, 2)
    assert box["bbox"] == [15, 5, 10, 10]
    assert "segmentation" not in box
    assert polygon["bbox"] == pytest.approx([4, 4, 16, 8])
    assert polygon["area"] == pytest.approx(128)
    assert polygon["segmentation"][0] == pytest.approx([4, 4, 20, 4, 20, 12, 4, 12])
    (tmp_path / "a.json").write_text(json.dumps(data))
    assert summarize_coco(str(tmp_path / "a.json"), str(root), evaluated=True).unlabelled == 1


def test_objects_of_no_area_are_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write(tmp_path, "0 0.5 0.5 0 0.5\n1 0.5 0.5 0.5 0.5\n0 0.1 0.1 0.5 0.5 0.9 0.9\n")
    with caplog.at_level(logging.WARNING):
        data = convert_yolo(root, "train")
    assert [(a["id"], a["category_id"]) for a in data["annotations"]] == [(1, 2)]
    (message,) = caplog.messages
    assert "2 objects of 'train' are left out" in message
    assert message.endswith("a.txt, line 1.")


def test_an_outline_that_crosses_itself(tmp_path: Path) -> None:
    root = write(tmp_path, "0 0 0 1 1 1 0 0 1")
    (entry,) = convert_yolo(root, "train")["annotations"]
    assert entry["area"] == pytest.approx(400)


def test_rounding_beyond_the_edge(tmp_path: Path) -> None:
    root = write(tmp_path, "0 -0.0001 0 1.0004 0 1 1.0001 0 1")
    (entry,) = convert_yolo(root, "train")["annotations"]
    assert entry["segmentation"] == [[0, 0, 40, 0, 40, 20, 0, 20]]


def test_names_by_number_and_a_list_of_images(tmp_path: Path) -> None:
    root = write(tmp_path, "7 0.5 0.5 1 1", names={7: "owl"})
    (root / "some.txt").write_text("./images/train/deep/a.png\n")
    (root / "data.yaml").write_text("train: some.txt\nnames: {7: owl}\n")
    data = convert_yolo(root, "train")
    assert len(data["images"]) == 1
    assert data["annotations"][0]["category_id"] == 8
    (root / "some.txt").write_text("\n./gone.png\n")
    with pytest.raises(UserError, match=r"some\.txt, line 2: there is no image .*gone\.png"):
        convert_yolo(root, "train")


def test_a_folder_that_is_said_to_be_one_level_up(tmp_path: Path) -> None:
    root = write(tmp_path, "0 0.5 0.5 1 1")
    (root / "data.yaml").write_text("{train: ../images/train, names: [owl]}")
    data = convert_yolo(root, "train")
    assert data["images"][0]["file_name"] == "images/train/b.png"
    assert len(data["annotations"]) == 1


def test_a_description_that_is_read_from_where_it_was_written_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "sets" / "owls", "0 0.5 0.5 1 1")
    (tmp_path / "owls.yaml").write_text("{path: owls, train: images/train, names: [owl]}")
    with pytest.raises(UserError, match=r"owls\.yaml: 'train' names images/train, which is not"):
        convert_yolo(tmp_path / "owls.yaml", "train")
    monkeypatch.chdir(tmp_path / "sets")
    data = convert_yolo(tmp_path / "owls.yaml", "train")
    assert data["images"][0]["file_name"] == "sets/owls/images/train/b.png"
    assert len(data["annotations"]) == 1


@pytest.mark.parametrize("train", [3, {"a": 1}, ["images/train", None]])
def test_a_split_that_is_no_folder(tmp_path: Path, train: Any) -> None:
    root = write(tmp_path, None)
    (root / "data.yaml").write_text(json.dumps({"train": train, "names": ["owl"]}))
    with pytest.raises(UserError, match="not a folder or a list of them"):
        convert_yolo(root, "train")


def test_labels_that_are_no_text(tmp_path: Path) -> None:
    root = write(tmp_path, "")
    (root / "labels/train/deep/a.txt").write_bytes(b"\xff\xfe0")
    with pytest.raises(UserError, match=r"a\.txt is not text in UTF-8"):
        convert_yolo(root, "train")


def test_an_image_that_lies_on_its_side(tmp_path: Path) -> None:
    root = write(tmp_path, None)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(root / "images/train/b.png", exif=exif)
    image = convert_yolo(root, "train")["images"][0]
    assert (image["width"], image["height"]) == (20, 40)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("0 0.5 0.5 1 1\n0 0.5 0.5 1", r"a\.txt, line 2: 3 numbers after the class"),
        ("0 0.5 0.5 1 1 1", "5 numbers after the class"),
        ("0 0.5 x 1 1", "line 1: '0 0.5 x 1 1' is not a row of numbers"),
        ("0 0.5 0.5 1 1.2", "parts of the image's width"),
        ("0 0.5 0.5 1 nan", "parts of the image's width"),
        ("0.5 0.5 0.5 1 1", "must be a class number"),
        ("inf 0.5 0.5 1 1", "must be a class number"),
        ("2 0.5 0.5 1 1", r"a\.txt, line 1: class 2 is not in the names"),
    ],
)
def test_mistakes_in_labels(tmp_path: Path, label: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        convert_yolo(write(tmp_path, label), "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a", r"data\.yaml is not valid YAML"),
        ("- a", "must hold 'names'"),
        ("train: images/train", "'names' must be a list"),
        ("names: [a]", "has no 'train'"),
        ("{names: [a], train: nowhere}", "'train' names nowhere, which is not there"),
        ("{names: [a], train: labels}", "there are no images in 'train'"),
    ],
)
def test_mistakes_in_the_description(tmp_path: Path, text: str, message: str) -> None:
    root = write(tmp_path, None)
    (root / "data.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        convert_yolo(root, "train")


def test_no_description_and_no_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.yaml cannot be read"):
        convert_yolo(tmp_path, "train")
    root = write(tmp_path, None)
    (root / "images/train/b.png").write_text("not a picture")
    with pytest.raises(UserError, match=r"b\.png is not a readable image"):
        convert_yolo(root, "train")


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 300), st.floats(0, 200)), min_size=3, max_size=9))
def test_polygons_come_back(points: list[tuple[float, float]]) -> None:
    values = [part for x, y in points for part in (x / 300, y / 200)]
    found = _geometry(values, 300, 200)
    assert found["segmentation"][0] == pytest.approx([v for p in points for v in p])
    x, y, width, height = found["bbox"]
    # Drawn points may wind around more than once: the bound of as many triangles as there are
    assert found["area"] <= (len(points) - 2) * width * height / 2 + 1e-6
    assert (x, y) == pytest.approx((min(p[0] for p in points), min(p[1] for p in points)))


def test_blood_cells_there_and_back(shared_data: Path, tmp_path: Path) -> None:
    source = json.loads((shared_data / "bccd" / "val.json").read_text())
    os.symlink(shared_data / "bccd" / "images", tmp_path / "images")
    (tmp_path / "labels").mkdir()
    names = [category["name"] for category in source["categories"]]
    for image in source["images"]:
        size = (image["width"], image["height"]) * 2
        rows = []
        for entry in source["annotations"]:
            if entry["image_id"] == image["id"]:
                x, y, w, h = entry["bbox"]
                box = [v / s for v, s in zip((x + w / 2, y + h / 2, w, h), size)]
                rows.append(" ".join(map(repr, [entry["category_id"] - 1, *box])))
        (tmp_path / "labels" / image["file_name"]).with_suffix(".txt").write_text("\n".join(rows))
    files = "\n".join(f"images/{image['file_name']}" for image in source["images"])
    (tmp_path / "val.txt").write_text(files)
    (tmp_path / "data.yaml").write_text(json.dumps({"val": "val.txt", "names": names}))

    found = convert_yolo(tmp_path, "val")
    assert found["categories"] == source["categories"]

    def boxes(data: Any) -> list[Any]:
        name = {i["id"]: Path(i["file_name"]).name for i in data["images"]}
        return sorted(
            (name[a["image_id"]], a["category_id"], *(round(v, 6) + 0.0 for v in a["bbox"]))
            for a in data["annotations"]
        )

    assert boxes(found) == boxes(source)
