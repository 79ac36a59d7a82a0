from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from centernet2.data.datasets.split import split_coco
from centernet2.errors import UserError


def data(names: list[str]) -> dict[str, Any]:
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    annotations = [{"id": i, "image_id": i, "bbox": [1, 2, 3, 4]} for i in range(len(names))]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}


@given(st.lists(st.text(max_size=8), min_size=2, max_size=40, unique=True), st.floats(0.01, 0.99))
def test_each_image_is_in_one_part(names: list[str], fraction: float) -> None:
    whole = data(names)
    train, val = split_coco(whole, fraction)
    parts = [{image["id"] for image in part["images"]} for part in (train, val)]
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] == set(range(len(names)))
    assert all(parts)
    assert abs(len(parts[1]) - fraction * len(names)) <= 1
    for part, ids in zip((train, val), parts):
        assert {entry["image_id"] for entry in part["annotations"]} == ids
        assert part["categories"] == whole["categories"]


def test_names_alone_decide() -> None:
    names = [f"{i}.jpg" for i in range(50)]
    first = {image["file_name"] for image in split_coco(data(names), 0.2)[1]["images"]}
    random.Random(0).shuffle(names)
    assert {image["file_name"] for image in split_coco(data(names), 0.2)[1]["images"]} == first
    grown = split_coco(data([*names, "new.jpg"]), 0.2)[1]["images"]
    assert len({image["file_name"] for image in grown} & first) >= 9


def test_validation_can_be_evaluated() -> None:
    whole = data(["a", "b"])
    for entry in whole["annotations"]:
        entry["iscrowd"] = 1
    _, val = split_coco(whole, 0.5)
    assert val["annotations"][0]["area"] == 12
    assert val["annotations"][0]["iscrowd"] == 1
    for entry in whole["annotations"]:
        entry["segmentation"] = [[1, 1, 2, 2, 3, 1]]
    _, val = split_coco(whole, 0.5)
    assert "area" not in val["annotations"][0]
    assert "area" not in whole["annotations"][0]


def test_real_data(shared_data: Path) -> None:
    whole = json.loads((shared_data / "bccd" / "train.json").read_text())
    train, val = split_coco(whole, 0.2)
    assert (len(train["images"]), len(val["images"])) == (233, 58)
    assert len(train["annotations"]) + len(val["annotations"]) == len(whole["annotations"])


def test_one_image_is_refused() -> None:
    with pytest.raises(UserError, match="one image cannot be split"):
        split_coco(data(["a"]), 0.5)
