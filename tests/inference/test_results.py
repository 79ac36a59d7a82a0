from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import Metadata
from detectron2.structures import Instances
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from centernet2.errors import UserError
from centernet2.inference.results import ResultsWriter, category_ids, image_ids


def test_results_load_with_pycocotools(
    tmp_path: Path, make_instances: Callable[..., Instances]
) -> None:
    truth = COCO()
    truth.dataset = {
        "images": [{"id": i, "width": 60, "height": 50} for i in (3, 7, 8)],
        "categories": [{"id": i} for i in (1, 2, 10)],
        "annotations": [],
    }
    truth.createIndex()
    found = make_instances((50, 60), [[10, 20, 40, 45], [0, 0, 5, 5.5]], masks=True)
    found.pred_classes[1] = 2
    path = tmp_path / "new folder" / "results.json"
    with ResultsWriter(path, [1, 2, 10]) as results:
        results.write(found, 7, "street.jpg")
        results.write(make_instances((50, 60), []), 8, "empty.jpg")
        results.write(make_instances((50, 60), [[1, 1, 2, 2]]), 3, "größer.jpg", time=0.25)
    loaded = truth.loadRes(str(path))
    assert [a["category_id"] for a in loaded.dataset["annotations"]] == [1, 10, 1]
    first, second, third = json.loads(path.read_text())
    assert (first["image_id"], first["file_name"], first["bbox"]) == (
        7,
        "street.jpg",
        [10, 20, 30, 25],
    )
    assert second["score"] == 0.5
    np.testing.assert_array_equal(
        coco_mask.decode(first["segmentation"]), found.pred_masks[0].numpy()
    )
    assert "segmentation" not in third
    assert (third["file_name"], third["time"]) == ("größer.jpg", 0.25)


def test_nothing_found_gives_an_empty_list(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path / "r.json", [1]):
        pass
    assert json.loads((tmp_path / "r.json").read_text()) == []


def test_refused_writing_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/r.json: cannot be written \("):
        ResultsWriter(tmp_path / "file" / "r.json", [1])
    full = Path("/dev/full")
    if full.exists():
        results = ResultsWriter(full, [1])
        with pytest.raises(UserError, match=r"/dev/full: cannot be written \(No space"), results:
            results.write_entry({"score": 1})


def test_file_is_complete_after_an_error(
    tmp_path: Path, make_instances: Callable[..., Instances]
) -> None:
    def interrupted() -> None:
        with ResultsWriter(tmp_path / "r.json", [1]) as results:
            results.write(make_instances((9, 9), [[1, 1, 2, 2]]), 1, "a.jpg")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(json.loads((tmp_path / "r.json").read_text())) == 1


def test_categories_are_those_of_the_data_set() -> None:
    metadata = Metadata(thing_dataset_id_to_contiguous_id={5: 1, 90: 0})
    assert category_ids(metadata, 2) == [90, 5]
    assert category_ids(Metadata(), 3) == [1, 2, 3]


def test_images_that_are_named_by_ids_keep_them() -> None:
    coco = [Path("a/000000000139.jpg"), Path("000000000285.jpg")]
    assert image_ids(coco) == [139, 285]
    assert image_ids([*coco, Path("b/139.png")]) == [1, 2, 3]
    assert image_ids([Path("x1.jpg"), Path("2.jpg")]) == [1, 2]
    assert image_ids([]) == []
