from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from centernet2.data.datasets.coco_summary import summarize_coco
from centernet2.errors import UserError

RLE = {"size": [9, 9], "counts": "Q11g1"}
GOOD: dict[str, Any] = {
    "images": [
        {"id": 4, "file_name": "a.jpg", "width": 9, "height": 9},
        {"id": 2, "file_name": "b.jpg", "width": 9, "height": 9},
    ],
    "annotations": [
        {"id": 1, "image_id": 4, "category_id": 7, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0},
        {"id": 2, "image_id": 4, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 1,
         "segmentation": RLE},
    ],
    "categories": [{"id": 7, "name": "owl"}, {"id": 3, "name": "crow"}],
}  # fmt: skip


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.jpg").touch()
    return folder


def summary(images: Path, data: Any, evaluated: bool = True) -> Any:
    path = images.parent / "a.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return summarize_coco(str(path), str(images), evaluated)


def test_contents(images: Path) -> None:
    found = summary(images, GOOD)
    assert found.classes == ("crow", "owl")
    assert found.class_ids == (3, 7)
    assert (found.images, found.unlabelled) == (2, 1)
    # The crowd is no object, so its mask counts for nothing
    assert (found.objects, found.without_mask, found.first_without_mask) == (1, 1, 1)
    assert not found.has_rle


@pytest.mark.parametrize(
    ("segmentation", "without", "rle"),
    [([[1, 1, 2, 2, 3, 1]], 0, False), (RLE, 0, True), ([], 1, 0)],
)
def test_kinds_of_masks(images: Path, segmentation: Any, without: int, rle: bool) -> None:
    data = copy.deepcopy(GOOD)
    data["annotations"][0]["segmentation"] = segmentation
    found = summary(images, data)
    assert (found.without_mask, found.has_rle) == (without, rle)


def test_evaluation_asks_for_more_than_training(images: Path) -> None:
    data = copy.deepcopy(GOOD)
    del data["annotations"][0]["area"]
    assert summary(images, data, evaluated=False).objects == 1
    with pytest.raises(UserError, match=r"a\.json: annotation number 1 .* no valid 'area' \(None"):
        summary(images, data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2", r"a\.json, line 1, is not valid JSON"),
        ("[1, 2]", "not in COCO's format: it has no list 'images'"),
        ('{"images": [], "annotations": []}', "no list 'categories'"),
        ("\udcff", "not valid JSON"),
    ],
)
def test_other_files(images: Path, text: str, message: str) -> None:
    path = images.parent / "a.json"
    path.write_bytes(text.encode("utf-8", "replace"))
    with pytest.raises(UserError, match=message):
        summarize_coco(str(path), str(images))


def test_binary_file(images: Path) -> None:
    path = images.parent / "a.json"
    path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match=r"a\.json is not valid JSON"):
        summarize_coco(str(path), str(images))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("categories",), [], "has no categories"),
        (("images",), [], "has no images"),
        (("categories", 0, "name"), None, "needs an integer 'id' and a text 'name'"),
        (("categories", 0, "id"), 3, "'owl' and 'crow' have the same id 3"),
        (("categories", 0), 5, "the category 5 needs"),
        (("images", 1, "id"), 4, "two images have the id 4"),
        (("images", 1, "width"), "9", "image number 2 of the list has no valid 'width' \\('9'\\)"),
        (("images", 1, "file_name"), "c.jpg", "1 of 2 images are not in .*images, the first of "
         "them c.jpg"),
        (("annotations", 1, "id"), 1, "two annotations have the id 1"),
        (("annotations", 1, "image_id"), 5, "annotations name image 5"),
        (("annotations", 1, "image_id"), [5], "number 2 of the list has no valid 'image_id'"),
        (("annotations", 1, "category_id"), 5, "has the category_id 5, .* \\(ids 3, 7\\)"),
        (("annotations", 1, "bbox"), [1, 2, 3], "has the bbox \\[1, 2, 3\\]"),
        (("annotations", 1, "bbox"), [1, 2, 3, float("nan")], "has the bbox"),
        (("annotations", 1, "bbox"), "1 2 3 4", "has the bbox"),
        (("annotations", 1, "segmentation"), "x", "has the segmentation 'x'"),
        (("annotations", 1, "ignore"), 1, "has 'ignore'"),
        (("annotations", 1), "x", "number 2 of the list has no valid 'id'"),
    ],
)  # fmt: skip
def test_mistakes(images: Path, place: tuple[Any, ...], value: Any, message: str) -> None:
    data = copy.deepcopy(GOOD)
    node: Any = data
    for part in place[:-1]:
        node = node[part]
    node[place[-1]] = value
    with pytest.raises(UserError, match=message) as error:
        summary(images, data)
    assert "a.json" in str(error.value)
