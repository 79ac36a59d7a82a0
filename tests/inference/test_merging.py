from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from detectron2.structures import Instances
from pycocotools.coco import COCO

from centernet2.inference.merging import index_records, write_coco
from centernet2.inference.records import RecordWriter
from centernet2.inference.shards import Shard

Make = Callable[..., Instances]
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}, {"id": 10, "name": "x"}]
NAMES = ["a/x.jpg", "b.jpg", "c.jpg", "d.jpg"]


@pytest.fixture
def folder(tmp_path: Path, make_instances: Make) -> Path:
    boxes = [[1.0, 2.0, 11.0, 22.0], [3.0, 4.0, 8.0, 9.0]]
    ids = [1, 2, 10]
    with RecordWriter(tmp_path, {}, ids, Shard(0, 2)) as writer:
        writer.finished("c.jpg", make_instances((30, 40), boxes, masks=True))
        writer.failed("a/x.jpg", "a/x.jpg: not an image")
    with RecordWriter(tmp_path, {}, ids, Shard(1, 2)) as writer:
        writer.finished("d.jpg", make_instances((50, 60), []))
        writer.failed("b.jpg", "b.jpg: not an image")
        writer.finished("a/x.jpg", make_instances((70, 80), boxes[:1]))
    return tmp_path


def test_index_knows_who_finished_what(folder: Path) -> None:
    index = index_records(folder)
    assert set(index.finished) == {"a/x.jpg", "c.jpg", "d.jpg"}
    assert index.failed == {"b.jpg": "b.jpg: not an image"}
    assert index.covers(NAMES)
    assert not index.covers([*NAMES, "e.jpg"])


def test_files_are_what_pycocotools_takes(folder: Path) -> None:
    written = write_coco(index_records(folder), NAMES, CATEGORIES, folder)
    assert (written.images, written.objects) == (3, 3)
    data = COCO(str(written.document))
    assert data.dataset["images"] == [
        {"id": 1, "file_name": "a/x.jpg", "width": 80, "height": 70},
        {"id": 3, "file_name": "c.jpg", "width": 40, "height": 30},
        {"id": 4, "file_name": "d.jpg", "width": 60, "height": 50},
    ]
    assert data.dataset["categories"] == CATEGORIES
    first, second, third = data.dataset["annotations"]
    assert [a["image_id"] for a in (first, second, third)] == [1, 3, 3]
    assert [a["id"] for a in (first, second, third)] == [1, 2, 3]
    assert first["area"] == 200  # of the box
    assert second["area"] == data.annToMask(second).sum() == 200
    assert third["area"] == data.annToMask(third).sum() == 25
    assert third["category_id"] == 2
    results = json.loads(written.results.read_text())
    assert [(e["image_id"], e["file_name"]) for e in results] == [
        (1, "a/x.jpg"),
        (3, "c.jpg"),
        (3, "c.jpg"),
    ]
    loaded = data.loadRes(str(written.results))
    assert [a["score"] for a in loaded.dataset["annotations"]] == [
        a["score"] for a in data.dataset["annotations"]
    ]


def test_images_of_an_earlier_run_that_are_not_asked_for_stay_out(folder: Path) -> None:
    written = write_coco(index_records(folder), ["d.jpg"], CATEGORIES, folder)
    assert json.loads(written.results.read_text()) == []
    (image,) = COCO(str(written.document)).dataset["images"]
    assert image["file_name"] == "d.jpg"
