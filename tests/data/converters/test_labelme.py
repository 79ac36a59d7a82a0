from __future__ import annotations

import base64
import io
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from centernet2.data.converters import convert_labelme
from centernet2.data.converters.images import one_image_folder
from centernet2.data.datasets.coco_summary import summarize_coco
from centernet2.data.doctor import check_dataset
from centernet2.errors import UserError

SIZE = (60, 40)


def shape(label: str, points: Any, kind: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, **more}


def write(path: Path, shapes: Any, image: str | None = None, **more: Any) -> Path:
    """A LabelMe file, with its image beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f"{path.stem}.png" if image is None else image
    if image is None:
        Image.new("RGB", SIZE).save(path.parent / name)
    entry = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": name,
             "imageData": None, "imageHeight": SIZE[1], "imageWidth": SIZE[0], **more}  # fmt: skip
    path.write_text(json.dumps(entry, ensure_ascii=False), encoding="utf-8")
    return path


def encoded(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")


TRIANGLE = [[10, 10], [30, 10], [10, 30]]


def test_every_shape(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "a.json", [
        shape("owl", TRIANGLE),
        shape("crow", [[50, 30], [40, 20]], "rectangle"),
        shape("crow", [[20, 20], [20, 30]], "circle"),
        shape("way", [[1, 1], [5, 5]], "line"),
        shape("way", [[1, 1], [5, 5], [9, 9]], "linestrip"),
        shape("eye", [[1, 1]], "point"),
        shape("eye", [[2, 1]], "point"),
        shape("owl", [[5, 5], [9, 9], [7, 7]]),
        shape("owl", [[70, 5], [90, 5], [90, 20]]),
        shape("__ignore__", TRIANGLE),
    ])  # fmt: skip
    with caplog.at_level(logging.WARNING):
        data = convert_labelme(tmp_path, "train")
    assert data["categories"] == [{"id": 1, "name": "crow"}, {"id": 2, "name": "owl"}]
    assert data["images"] == [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}]
    triangle, rectangle, circle = data["annotations"]
    assert triangle["segmentation"] == [[10, 10, 30, 10, 10, 30]]
    assert (triangle["bbox"], triangle["area"]) == ([10, 10, 20, 20], 200)
    assert (rectangle["bbox"], rectangle["area"]) == ([40, 20, 10, 10], 100)
    assert len(rectangle["segmentation"][0]) == 8
    assert circle["bbox"] == pytest.approx([10, 10, 20, 20])
    assert circle["area"] == pytest.approx(np.pi * 100, rel=0.05)
    rim = np.reshape(circle["segmentation"][0], (-1, 2))
    assert np.hypot(*(rim - 20).T) == pytest.approx(10)
    (message,) = caplog.messages
    assert message.endswith(
        "left out, as they are no objects: 1 x label __ignore__, 1 x line, 1 x linestrip, "
        "2 x point, 2 x shape without an area in its image."
    )


def test_the_result_is_a_data_set_without_mistakes(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.json", [shape("owl", TRIANGLE), shape("owl", TRIANGLE, group_id=3)])
    write(tmp_path / "in" / "b.json", [])
    path = tmp_path / "train.json"
    path.write_text(json.dumps(convert_labelme(tmp_path / "in", "train")))
    assert summarize_coco(str(path), str(tmp_path / "in"), evaluated=True).unlabelled == 1
    counts = check_dataset(path, tmp_path / "in").counts()
    assert counts == {"duplicate-annotation": 1, "image-without-annotations": 1}


@pytest.mark.parametrize("kind", ["oriented_rectangle", "rotation"])
def test_turned_rectangles_have_four_corners(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "a.json", [shape("owl", [[10, 5], [15, 10], [10, 15], [5, 10]], kind)])
    (entry,) = convert_labelme(tmp_path, "train")["annotations"]
    assert (entry["bbox"], entry["area"]) == ([5, 5, 10, 10], pytest.approx(50))
    assert entry["segmentation"] == [[10, 5, 15, 10, 10, 15, 5, 10]]


def test_rectangles_alone_are_boxes(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [shape("owl", [[1, 2], [5, 8]], "rectangle")])
    (box,) = convert_labelme(tmp_path, "train")["annotations"]
    assert box["bbox"] == [1, 2, 4, 6]
    assert "segmentation" not in box


def test_shapes_of_a_group_are_one_object(tmp_path: Path) -> None:
    far = [[40, 5], [50, 5], [50, 15]]
    write(tmp_path / "a.json", [
        shape("owl", TRIANGLE, group_id=1),
        shape("crow", TRIANGLE, group_id=1),
        shape("owl", far, group_id=1),
        shape("owl", far, group_id=2),
        shape("owl", TRIANGLE, group_id=1),
    ])  # fmt: skip
    first, second, third = convert_labelme(tmp_path, "train")["annotations"]
    assert [len(a["segmentation"]) for a in (first, second, third)] == [3, 1, 1]
    assert first["bbox"] == [10, 5, 40, 25]
    assert first["area"] == pytest.approx(250)  # what overlaps counts once


def test_a_mask_and_what_joins_it(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6), np.uint8)
    pixels[1:3, 2:5] = 255
    mask = encoded(Image.fromarray(pixels))
    write(tmp_path / "a.json", [
        shape("owl", [[7, 3], [12, 6]], "mask", mask=mask, group_id=0),
        shape("owl", [[0, 0], [2, 2]], "rectangle", group_id=0),
        shape("owl", [[-2, 38], [3, 41]], "mask", mask=mask),
        shape("owl", [[80, 80], [85, 83]], "mask", mask=mask),
    ])  # fmt: skip
    first, second = convert_labelme(tmp_path, "train")["annotations"]
    wanted = np.zeros((40, 60), np.uint8)
    wanted[4:6, 9:12] = 1
    wanted[0:2, 0:2] = 1
    assert (mask_util.decode(first["segmentation"]) == wanted).all()
    assert (first["area"], first["bbox"]) == (10, [0, 0, 12, 6])
    assert (second["area"], second["bbox"]) == (3, [0, 39, 3, 1])


def test_objects_are_cut_off_at_the_edge(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [
        shape("owl", [[0, 20], [10, 20]], "circle"),
        shape("owl", [[50, -9], [99, 5]], "rectangle"),
    ])  # fmt: skip
    half, part = convert_labelme(tmp_path, "train")["annotations"]
    assert half["bbox"] == pytest.approx([0, 10, 10, 20])
    assert half["area"] == pytest.approx(np.pi * 50, rel=0.05)
    assert part["bbox"] == [50, 0, 10, 5]


def test_a_circle_beyond_any_image(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [shape("owl", [[-5e8, 20], [30, 20]], "circle")])
    (part,) = convert_labelme(tmp_path, "train")["annotations"]
    assert part["bbox"] == pytest.approx([0, 0, 30, 40])


def test_masks_of_real_people(shared_data: Path, tmp_path: Path) -> None:
    """Run lengths, as LabelMe would save them, there and back."""
    folder = shared_data / "penn_fudan"
    source = json.loads((folder / "val.json").read_text())
    wanted = []
    for image in source["images"][:3]:
        shapes = []
        for entry in source["annotations"]:
            if entry["image_id"] == image["id"]:
                pixels = mask_util.decode(runs(entry["segmentation"]))
                x, y, w, h = mask_util.toBbox(runs(entry["segmentation"])).astype(int)
                part = encoded(Image.fromarray(pixels[y : y + h, x : x + w] * 255))
                corners = [[int(x), int(y)], [int(x + w - 1), int(y + h - 1)]]
                shapes.append(shape("person", corners, "mask", mask=part))
                wanted.append(pixels)
        (tmp_path / image["file_name"]).symlink_to(folder / "images" / image["file_name"])
        size = {"imageWidth": image["width"], "imageHeight": image["height"]}
        path = (tmp_path / image["file_name"]).with_suffix(".json")
        write(path, shapes, image["file_name"], **size)
    found = convert_labelme(tmp_path, "train")["annotations"]
    assert len(found) == len(wanted) > 3
    for entry, pixels in zip(found, wanted):
        assert (mask_util.decode(entry["segmentation"]) == pixels).all()
        assert entry["area"] == pixels.sum()


def runs(mask: dict[str, Any]) -> dict[str, Any]:
    """A mask in the form that pycocotools decodes."""
    if isinstance(mask["counts"], list):
        return dict(mask_util.frPyObjects(mask, *mask["size"]))
    return mask


def test_old_files_tell_neither_size_nor_kind(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [{"label": "owl", "points": TRIANGLE, "line_color": None}])
    entry = json.loads(path.read_text())
    del entry["imageHeight"], entry["imageWidth"]
    path.write_text(json.dumps(entry))
    data = convert_labelme(tmp_path, "train")
    assert data["images"][0]["width"] == 60
    assert data["annotations"][0]["area"] == 200


def test_splits_are_folders_with_the_same_classes(tmp_path: Path) -> None:
    write(tmp_path / "day" / "a.json", [shape("owl", TRIANGLE)])
    write(tmp_path / "val" / "a.json", [shape("crow", TRIANGLE)])
    train, val = (convert_labelme(tmp_path, split) for split in ("train", "val"))
    assert train["categories"] == val["categories"]
    assert [image["file_name"] for image in train["images"]] == ["day/a.png"]
    assert [image["file_name"] for image in val["images"]] == ["val/a.png"]
    (tmp_path / "day").rename(tmp_path / "train")
    names = [i["file_name"] for i in convert_labelme(tmp_path, "train")["images"]]
    assert names == ["train/a.png"]
    with pytest.raises(UserError, match=r"There is no folder .*test with the files of 'test'"):
        convert_labelme(tmp_path, "test")


@pytest.mark.parametrize("name", ["../images/b.png", "..\\images\\b.png", "gone/b.png"])
def test_images_elsewhere_in_the_folder(tmp_path: Path, name: str) -> None:
    beside = "gone" in name
    place = tmp_path / ("labels" if beside else "images")
    place.mkdir()
    Image.new("RGB", SIZE).save(place / "b.png")
    write(tmp_path / "labels" / "a.json", [shape("owl", TRIANGLE)], name)
    (image,) = convert_labelme(tmp_path, "train")["images"]
    assert image["file_name"] == ("labels/b.png" if beside else "images/b.png")


def test_names_of_any_script(tmp_path: Path) -> None:
    write(tmp_path / "日本 é.json", [shape("猫 🐈", TRIANGLE)])
    data = convert_labelme(tmp_path, "train")
    assert data["images"][0]["file_name"] == "日本 é.png"
    assert data["categories"][0]["name"] == "猫 🐈"
    decomposed = "日本 e\N{COMBINING ACUTE ACCENT}.png"  # as a Mac writes it into an archive
    (tmp_path / "日本 é.png").rename(tmp_path / decomposed)
    assert convert_labelme(tmp_path, "train")["images"][0]["file_name"] == decomposed


def test_an_image_that_lies_on_its_side(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = {"imageWidth": SIZE[1], "imageHeight": SIZE[0]}
    path = write(tmp_path / "a.json", [shape("owl", TRIANGLE)], **upright)
    Image.new("RGB", SIZE).save(tmp_path / "a.png", exif=exif)
    (image,) = convert_labelme(tmp_path, "train")["images"]
    assert (image["width"], image["height"]) == (40, 60)
    write(path, [shape("owl", TRIANGLE)], "a.png")
    with pytest.raises(UserError, match=r"made for an image of 60 x 40 .* has 40 x 60: its EXIF"):
        convert_labelme(tmp_path, "train")


def test_images_inside_of_the_files(tmp_path: Path) -> None:
    picture = Image.new("RGB", SIZE, (9, 99, 200))
    source = tmp_path / "in"
    write(source / "deep" / "a.json", [shape("owl", TRIANGLE)], "b.png", imageData=encoded(picture))
    write(source / "c.json", [])
    with pytest.raises(UserError, match=r"b\.png is only in its 'imageData'"):
        convert_labelme(source, "train")
    data = convert_labelme(source, "train", tmp_path / "out")
    root = one_image_folder(data, source)
    assert root == tmp_path
    assert [i["file_name"] for i in data["images"]] == ["in/c.png", "out/deep/a-b.png"]
    with Image.open(root / data["images"][1]["file_name"]) as found:
        assert found.tobytes() == picture.tobytes()
    assert not (source / "deep" / "b.png").exists()


@pytest.mark.parametrize(
    ("shapes", "more", "message"),
    [
        ([7], {}, r"a\.json: shape 1 is 7, not an object"),
        ([shape("owl", TRIANGLE), shape(" ", TRIANGLE)], {}, "shape 2 has the label ' '"),
        ([shape("owl", TRIANGLE, kind=3)], {}, "has the shape_type 3"),  # type: ignore[arg-type]
        ([shape("owl", TRIANGLE, group_id=[1])], {}, r"has the group_id \[1\]"),
        ([shape("owl", [[1, 2], [3]])], {}, r"has the points \[\[1, 2\], \[3\]\]; they must be"),
        ([shape("owl", [[1, float("nan")]] * 3)], {}, "they must be pairs"),
        ([shape("owl", None)], {}, "they must be pairs"),
        ([shape("owl", [[1, 1], [1e300, 2]], "circle")], {}, "they must be pairs"),
        ([shape("owl", [[1, 2]], "rectangle")], {}, "a rectangle, has 1 points"),
        ([shape("owl", TRIANGLE, "circle")], {}, "a circle, has 3 points"),
        ([shape("owl", TRIANGLE, "mask", mask="no")], {}, "has no readable 'mask'"),
        ([shape("owl", TRIANGLE, "mask")], {}, "has no readable 'mask'"),
        ([], {"imageWidth": "60"}, "'imageWidth' and 'imageHeight' are '60' and 40"),
        ([], {"imageWidth": 61}, "for an image of 61 x 40 pixels, but .* has 60 x 40"),
        ([], {"imagePath": None}, "'imagePath' is None"),
        ([], {"imagePath": "x/gone.png"}, r"x/gone\.png is not there, nor gone\.png beside it"),
        ([], {"imagePath": "gone.png", "imageData": "?"}, "'imageData' is not in base64"),
        ([], {"imagePath": "gone.png", "imageData": "AAAA"}, "is not a readable image"),
        ([], {"imagePath": "x" * 300, "imageData": "AAAA"}, "its image cannot be written"),
    ],
)
def test_mistakes(tmp_path: Path, shapes: Any, more: Any, message: str) -> None:
    write(tmp_path / "in" / "a.json", shapes, **more)
    with pytest.raises(UserError, match=message):
        convert_labelme(tmp_path / "in", "train", tmp_path / "out")


@pytest.mark.parametrize("name", ["../b.png", "..\\..\\b.png", "x/../../b.png", "{}/b.png"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    Image.new("RGB", SIZE).save(tmp_path / "b.png")
    write(
        tmp_path / "in" / "a.json",
        [],
        name.format(tmp_path),
        imageData=encoded(Image.new("L", SIZE)),
    )
    with pytest.raises(
        UserError, match=r"a\.json: its image '.*b\.png' lies outside of .*in; move"
    ):
        convert_labelme(tmp_path / "in", "train", tmp_path / "out")


def test_folders_without_files_of_labelme(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"shapes": 3}')
    with pytest.raises(UserError, match="has no JSON files of LabelMe"):
        convert_labelme(tmp_path, "train")
    (tmp_path / "broken.json").write_text('{"shapes": [')
    with pytest.raises(UserError, match=r"broken\.json, line 1, is not valid JSON"):
        convert_labelme(tmp_path, "train")


POINT = st.tuples(st.integers(0, 240), st.integers(0, 160)).map(lambda p: [p[0] / 4, p[1] / 4])
SHAPES = st.lists(
    st.tuples(
        st.sampled_from(["owl", "crow", "Käuzchen", "ふくろう"]),
        st.lists(POINT, min_size=3, max_size=7),
        st.none() | st.integers(0, 2),
    ),
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(SHAPES, min_size=1, max_size=3))
def test_there_and_back(files: list[list[tuple[str, list[list[float]], int | None]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, shapes in enumerate(files):
            entries = [shape(label, points, group_id=group) for label, points, group in shapes]
            write(Path(folder, f"{number}.json"), entries)
        data = convert_labelme(folder, "train")
    names = {category["id"]: category["name"] for category in data["categories"]}
    found = []
    for entry in data["annotations"]:
        parts = [np.reshape(part, (-1, 2)).tolist() for part in entry["segmentation"]]
        found.append((entry["image_id"] - 1, names[entry["category_id"]], parts))
    wanted: dict[Any, Any] = {}
    for number, shapes in enumerate(files):
        for place, (label, points, group) in enumerate(shapes):
            if shapely.make_valid(shapely.Polygon(points)).area > 0:
                key = (number, label, f"alone {place}" if group is None else group)
                wanted.setdefault(key, []).append(points)
    assert sorted(found) == sorted((n, label, parts) for (n, label, _), parts in wanted.items())
    for entry in data["annotations"]:
        parts = [np.reshape(part, (-1, 2)) for part in entry["segmentation"]]
        whole = shapely.union_all([shapely.Polygon(part).buffer(0.0) for part in parts])
        x, y, width, height = entry["bbox"]
        every = np.concatenate(parts)
        assert (x, y) == tuple(every.min(0)) and (x + width, y + height) == tuple(every.max(0))
        if all(shapely.Polygon(part).is_valid for part in parts):
            assert entry["area"] == pytest.approx(whole.area)
