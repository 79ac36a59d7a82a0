from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from centernet2.data.converters import convert_voc
from centernet2.data.datasets.coco_summary import summarize_coco
from centernet2.errors import UserError


def xml(name: str, objects: list[tuple[Any, ...]], size: tuple[int, int] = (40, 20)) -> str:
    parts = "".join(
        f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox><xmin>{x0}</xmin>"
        f"<ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for label, difficult, x0, y0, x1, y1 in objects
    )
    return (
        f"<annotation><filename>{name}</filename><size><width>{size[0]}</width>"
        f"<height>{size[1]}</height></size>{parts}</annotation>"
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / part).mkdir(parents=True)
    for name, objects in (
        ("a", [("owl", 0, 1, 2, 11, 12), ("owl", 1, 1.5, 2, 3, 4)]),
        ("b", [("crow", 0, 0, 0, 40, 20)]),
        ("c", []),
    ):
        Image.new("RGB", (40, 20)).save(tmp_path / "JPEGImages" / f"{name}.jpg")
        (tmp_path / "Annotations" / f"{name}.xml").write_text(xml(f"{name}.jpg", objects))
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\nc  1\n\n")
    (tmp_path / "ImageSets/Main/val.txt").write_text("b\n")
    return tmp_path


def test_splits_share_their_classes(root: Path) -> None:
    data, val = convert_voc(root, "train"), convert_voc(root, "val")
    assert data["categories"] == [{"id": 1, "name": "crow"}, {"id": 2, "name": "owl"}]
    assert val["categories"] == data["categories"]
    assert [image["file_name"] for image in data["images"]] == ["JPEGImages/a.jpg",
                                                                "JPEGImages/c.jpg"]  # fmt: skip
    first, second = data["annotations"]
    assert (first["bbox"], first["area"], first["iscrowd"]) == ([1, 2, 10, 10], 100, 0)
    assert (second["bbox"], second["iscrowd"]) == ([1.5, 2, 1.5, 2], 1)
    assert [image["file_name"] for image in val["images"]] == ["JPEGImages/b.jpg"]
    (root / "a.json").write_text(json.dumps(data))
    assert summarize_coco(str(root / "a.json"), str(root), evaluated=True).unlabelled == 1


def test_images_beside_their_files(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg")
    (tmp_path / "a.xml").write_text(xml("a.jpg", [("owl", 0, 1, 2, 3, 4)]))
    assert convert_voc(tmp_path, "train")["images"][0]["file_name"] == "a.jpg"
    with pytest.raises(UserError, match=r"There is no folder .*val with the files of 'val'"):
        convert_voc(tmp_path, "val")


def test_splits_that_are_folders(tmp_path: Path) -> None:
    for split, label in (("train", "owl"), ("valid", "crow")):
        (tmp_path / split).mkdir()
        Image.new("RGB", (40, 20)).save(tmp_path / split / "a.jpg")
        (tmp_path / split / "a.xml").write_text(xml("a.jpg", [(label, 0, 1, 2, 3, 4)]))
    train, val = (convert_voc(tmp_path, split) for split in ("train", "val"))
    assert [image["file_name"] for image in train["images"]] == ["train/a.jpg"]
    assert [image["file_name"] for image in val["images"]] == ["valid/a.jpg"]
    assert val["annotations"][0]["category_id"] == 1
    assert train["annotations"][0]["category_id"] == 2


def test_the_size_is_that_of_the_image(root: Path) -> None:
    path = root / "Annotations/a.xml"
    path.write_text("<annotation><filename>a.jpg</filename></annotation>")
    assert convert_voc(root, "train")["images"][0]["width"] == 40
    path.write_text(xml("a.jpg", [], (0, 0)))  # as some tools write it
    assert convert_voc(root, "train")["images"][0]["height"] == 20
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(root / "JPEGImages/a.jpg", exif=exif)
    path.write_text(xml("a.jpg", []))
    with pytest.raises(UserError, match=r"a\.xml was made for an image of 40 x 20 .* 20 x 40"):
        convert_voc(root, "train")


def test_names_with_spaces_in_a_list(root: Path) -> None:
    for part, old in (("Annotations", "a.xml"), ("JPEGImages", "a.jpg")):
        (root / part / old).rename(root / part / old.replace("a.", "a day."))
    (root / "Annotations/a day.xml").write_text(xml("a day.jpg", []))
    (root / "ImageSets/Main/train.txt").write_text("a day\nc -1\n")
    names = [image["file_name"] for image in convert_voc(root, "train")["images"]]
    assert names == ["JPEGImages/a day.jpg", "JPEGImages/c.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", r"a\.xml is not valid XML: .*line 1"),
        (xml("a.jpg", [("owl", 0, 5, 2, 5, 4)]), r"a\.xml: the box 5, 2, 5, 4 has no area"),
        (xml("a.jpg", [("owl", 0, "x", 2, 5, 4)]), r"a\.xml: <bndbox/xmin> is 'x', not a number"),
        (xml("a.jpg", [("owl", 0, 1, 2, "nan", 4)]), "<bndbox/xmax> is 'nan', not a number"),
        (xml("../../a.jpg", []), r"its image '\.\./\.\./a\.jpg' lies outside of"),
        (xml("a.jpg", [("", 0, 1, 2, 5, 4)]), r"a\.xml: <object> has no <name>"),
        (xml("", []), r"a\.xml: <annotation> has no <filename>"),
        (xml("gone.jpg", []), r"a\.xml: its image gone\.jpg is neither"),
    ],
)
def test_mistakes(root: Path, text: str, message: str) -> None:
    (root / "Annotations/a.xml").write_text(text)
    with pytest.raises(UserError, match=message):
        convert_voc(root, "train")


def test_lists_and_folders_that_name_nothing(root: Path) -> None:
    (root / "ImageSets/Main/val.txt").write_text("b\nz\n")
    with pytest.raises(UserError, match=r"val\.txt, line 2: there is no z\.xml"):
        convert_voc(root, "val")
    (root / "ImageSets/Main/train.txt").write_text("\n")
    with pytest.raises(UserError, match=r"train\.txt lists no images"):
        convert_voc(root, "train")
    (root / "ImageSets/Main/train.txt").unlink()
    with pytest.raises(UserError, match=r"There is no .*train\.txt that lists"):
        convert_voc(root, "train")
    with pytest.raises(UserError, match="has no XML files"):
        convert_voc(root / "JPEGImages", "train")


def test_blood_cells_there_and_back(shared_data: Path, tmp_path: Path) -> None:
    source = json.loads((shared_data / "bccd" / "val.json").read_text())
    (tmp_path / "JPEGImages").symlink_to(shared_data / "bccd" / "images")
    (tmp_path / "Annotations").mkdir()
    names = {category["id"]: category["name"] for category in source["categories"]}
    for image in source["images"]:
        objects = []
        for entry in source["annotations"]:
            if entry["image_id"] == image["id"]:
                x, y, w, h = entry["bbox"]
                objects.append((names[entry["category_id"]], 0, x, y, x + w, y + h))
        path = (tmp_path / "Annotations" / image["file_name"]).with_suffix(".xml")
        path.write_text(xml(image["file_name"], objects, (image["width"], image["height"])))

    def boxes(data: Any) -> list[Any]:
        file = {i["id"]: Path(i["file_name"]).name for i in data["images"]}
        name = {c["id"]: c["name"] for c in data["categories"]}
        return sorted(
            (file[a["image_id"]], name[a["category_id"]], *a["bbox"]) for a in data["annotations"]
        )

    assert boxes(convert_voc(tmp_path, "train")) == boxes(source)


# What XML 1.0 can hold, without the spaces at the ends that any reader of it drops
NAMES = st.text(
    st.characters(categories=["L", "N", "P", "S"], exclude_characters="\ufffe\uffff"), min_size=1
)
FRACTIONS = st.floats(0, 1000, allow_nan=False)
OBJECTS = st.lists(st.tuples(NAMES, st.booleans(), FRACTIONS, FRACTIONS, FRACTIONS, FRACTIONS))


@settings(max_examples=60, deadline=None)
@given(st.lists(OBJECTS, min_size=1, max_size=3))
def test_there_and_back(files: list[list[tuple[str, bool, float, float, float, float]]]) -> None:
    wanted = []
    with tempfile.TemporaryDirectory() as folder:
        for number, objects in enumerate(files):
            Image.new("1", (40, 20)).save(Path(folder, f"{number}.png"))
            kept = [o for o in objects if o[4] > o[2] and o[5] > o[3]]
            wanted += [(number, name, int(hard), x0, y0, x1 - x0, y1 - y0)
                       for name, hard, x0, y0, x1, y1 in kept]  # fmt: skip
            text = xml(
                f"{number}.png", [(escape(o[0]), int(o[1]), *map(repr, o[2:])) for o in kept]
            )
            Path(folder, f"{number}.xml").write_text(text, encoding="utf-8")
        data = convert_voc(folder, "train")
    names = {category["id"]: category["name"] for category in data["categories"]}
    assert list(names.values()) == sorted({row[1] for row in wanted})
    assert wanted == [
        (a["image_id"] - 1, names[a["category_id"]], a["iscrowd"], *a["bbox"])
        for a in data["annotations"]
    ]
