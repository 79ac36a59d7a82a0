from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from centernet2.errors import UserError
from centernet2.evaluation.report.figures import measure
from centernet2.evaluation.report.files import load_files


def encoded(height: int, width: int) -> dict[str, Any]:
    mask = np.zeros((height, width), dtype=np.uint8, order="F")
    mask[10:20, 10:30] = 1
    code = mask_api.encode(mask)
    return {"size": [height, width], "counts": code["counts"].decode()}


def good_files() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    truth = {
        "images": [{"id": i, "width": 100, "height": 50, "file_name": "x"} for i in (1, 2)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [
            {
                "id": 0,
                "image_id": 1,
                "category_id": 7,
                "bbox": [10, 10, 20.5, 10],
                "segmentation": [[10, 10, 30, 10, 30, 20, 10, 20]],
                "iscrowd": 0,
            },
            {
                "id": 1,
                "image_id": 2,
                "category_id": 3,
                "bbox": [0, 0, 1, 2],
                "area": 1.5,
                "segmentation": {"size": [50, 100], "counts": [0, 2, 4998]},
                "iscrowd": 1,
            },
        ],
    }
    found = [
        {
            "image_id": 1,
            "category_id": 7,
            "bbox": [10, 10, 20, 10],
            "score": 0.5,
            "segmentation": encoded(50, 100),
        }
        for _ in range(3)
    ]
    return truth, found


def load(folder: Path, truth: Any, found: Any) -> Any:
    (folder / "gt.json").write_text(json.dumps(truth))
    (folder / "dt.json").write_text(json.dumps(found))
    return load_files(folder / "dt.json", folder / "gt.json")


def test_good_files_are_completed(tmp_path: Path) -> None:
    truth, found = good_files()
    data = load(tmp_path, truth, found)
    assert data.masks and not data.federated
    assert data.names == ["dog", "cat"]
    assert [a["id"] for a in data.truth["annotations"]] == [1, 2]
    assert [a["area"] for a in data.truth["annotations"]] == [205, 1.5]
    assert data.found == found
    del found[1]["segmentation"]
    assert not load(tmp_path, truth, found).masks
    del truth["annotations"]
    assert load(tmp_path, truth, []).truth["annotations"] == []


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("score", "high", r"the score 'high'; it must be a finite number"),
        ("score", float("nan"), "the score nan"),
        ("score", float("inf"), "the score inf"),
        ("score", True, "the score True"),
        ("score", None, "the score None"),
        ("bbox", [1, 2, 3], r"the bbox \[1, 2, 3\]; it must be \[x, y, width, height\]"),
        ("bbox", [1, 2, float("nan"), 3], "the bbox"),
        ("bbox", [1, 2, "3", 3], "the bbox"),
        ("bbox", [1, 2, -3, 3], "no side negative"),
        ("bbox", {"x": 1}, "the bbox"),
        ("image_id", 9, "the image_id 9; it must be one that .*gt.json lists"),
        ("image_id", [1], r"the image_id \[1\]"),
        ("image_id", "1", "the image_id '1'"),
        ("category_id", 5, "the category_id 5; it must be one that .*gt.json lists"),
        ("category_id", 7.0, "the category_id 7.0"),
        ("segmentation", [[1, 1, 5, 1, 5, 5]], "it must be a run-length encoding"),
        ("segmentation", {"size": [50, 100]}, "'counts' are neither"),
        ("segmentation", {"size": [50, 100], "counts": "é"}, "'counts' are neither"),
        ("segmentation", {"size": [100, 50], "counts": "0"}, r"its image 1 has \[50, 100\]"),
        ("segmentation", {"size": "big", "counts": "0"}, "of size 'big' .height, width."),
        ("segmentation", {"size": [50, 100], "counts": "\x01\x02"}, "run lengths are broken"),
        ("segmentation", {"size": [50, 100], "counts": ""}, "run lengths are broken"),
        ("segmentation", {"size": [50, 100], "counts": [5, -5, 5000]}, "not integers from 0 on"),
        ("segmentation", {"size": [50, 100], "counts": [10, 20]}, "do not add up"),
        ("segmentation", {"size": [50, 100], "counts": [0.5, 20]}, "are not integers from 0"),
    ],
)
def test_a_malformed_detection_is_named(key: str, value: Any, problem: str, tmp_path: Path) -> None:
    truth, found = good_files()
    found[1][key] = value
    with pytest.raises(UserError, match=r"dt\.json: entry 2 has (the|a) .*") as error:
        load(tmp_path, truth, found)
    assert error.match(problem)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("key", ["image_id", "category_id", "bbox", "score"])
def test_a_lacking_key_is_named(key: str, tmp_path: Path) -> None:
    truth, found = good_files()
    del found[2][key]
    with pytest.raises(UserError, match=rf"dt\.json: entry 3 lacks '{key}'"):
        load(tmp_path, truth, found)


def change(path: str, value: Any) -> Callable[[Any], None]:
    *ways, last = path.split(".")

    def apply(content: Any) -> None:
        for way in ways:
            content = content[int(way)] if way.isdigit() else content[way]
        content[int(last) if last.isdigit() else last] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("annotations.1.bbox", [1, 2, 3], "annotation number 2 has the bbox"),
        ("annotations.1.image_id", 9, "annotation number 2 has the image_id 9"),
        ("annotations.0.category_id", None, "annotation number 1 has the category_id None"),
        ("annotations.0.area", float("nan"), "annotation number 1 has the area nan"),
        ("annotations.0.area", -1, "annotation number 1 has the area -1"),
        ("annotations.0.iscrowd", "no", "annotation number 1 has the iscrowd 'no'"),
        ("annotations.0.segmentation", [[1, 2]], "annotation number 1 has the segmentation"),
        ("annotations.0.segmentation", "RLE", "annotation number 1 has the segmentation"),
        ("annotations.1.segmentation.counts", [1, 2], "annotation 2 .*do not add up"),
        ("annotations.1", 5, "annotations, number 2, is 5, not an object"),
        ("images.0.height", None, "image 1 has the height None; it must be a positive integer"),
        ("images.1.id", 1, "two images have the id 1"),
        ("images.1.id", "a", "images has the id 'a'"),
        ("categories.1.id", 7, "two categories have the id 7"),
        ("categories.0.name", 4, "has the name 4"),
        ("images", {}, "no list 'images'"),
        (
            "images.0.neg_category_ids",
            [7],
            "image number 2 has no list of categories 'neg_category_ids'",
        ),
    ],
)
def test_malformed_truth_is_named(path: str, value: Any, problem: str, tmp_path: Path) -> None:
    truth, found = good_files()
    change(path, value)(truth)
    with pytest.raises(UserError, match=rf"gt\.json.*{problem}") as error:
        load(tmp_path, truth, found)
    assert "\n" not in str(error.value)


def test_files_of_another_kind(tmp_path: Path) -> None:
    truth, found = good_files()
    with pytest.raises(UserError, match=r"dt\.json is no COCO results file"):
        load(tmp_path, truth, {"a": 1})
    with pytest.raises(UserError, match=r"dt\.json: entries, number 1, is 'x', not an object"):
        load(tmp_path, truth, ["x"])
    with pytest.raises(UserError, match=r"gt\.json is no COCO annotation file"):
        load(tmp_path, [], found)
    federated = copy.deepcopy(truth)
    for image in federated["images"]:
        image["neg_category_ids"] = []
    with pytest.raises(UserError, match="category 7 has no 'frequency'"):
        load(tmp_path, federated, found)
    with pytest.raises(UserError, match=r"none\.json cannot be read"):
        load_files(tmp_path / "none.json", tmp_path / "gt.json")


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything inside a JSON value."""
    inside = content.items() if isinstance(content, dict) else ()
    if isinstance(content, list):
        inside = enumerate(content)
    return [p for key, value in inside for p in [(*path, key), *places(value, (*path, key))]]


ODD = [None, True, -1, 0, 2.5, 1e30, float("nan"), float("-inf"), "", "a", "é\x00", [], {}, [[]]]
ODD += [10**25, [0, 0, 0, 0], {"size": [50, 100], "counts": [1]}, {"size": [1, 1], "counts": "00"}]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_change_anywhere_is_named_or_harmless(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = list(good_files())
    for image in files[0]["images"]:
        image.update(neg_category_ids=[3], not_exhaustive_category_ids=[7])
    for category in files[0]["categories"]:
        category["frequency"] = "c"
    files[0]["annotations"][1]["iscrowd"] = 0
    *way, last = data.draw(st.sampled_from(places(files)))
    content: Any = files
    for key in way:
        content = content[key]
    if data.draw(st.booleans()):
        content[last] = data.draw(st.sampled_from(ODD))
    else:
        del content[last]
    assume(len(files) == 2)
    problem = ""
    try:
        loaded = load(tmp_path_factory.mktemp("f"), *files)
    except UserError as error:
        problem = str(error)
    if problem:
        assert "\n" not in problem and ".json" in problem
        return
    for task in ("bbox", "segm") if loaded.masks else ("bbox",):
        measure(loaded, task, 0.3)
