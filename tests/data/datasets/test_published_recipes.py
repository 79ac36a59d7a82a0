"""The data sets of the published recipes, from small files in their layout."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances

from centernet2.data.datasets import register_builtin
from centernet2.engine import build_cfg
from centernet2.engine.checks import check_num_classes
from centernet2.engine.data_loader import build_train_loader
from centernet2.errors import UserError

NAMES = (
    "objects365_train", "objects365_val", "nuimages_train", "nuimages_val", "nuimages_mini",
    "coco_un_yolov4_55_0.5", "coco_2017_unlabeled", "labelled_part",
)  # fmt: skip
COCO_IDS = {"person": 1, "bicycle": 2, "toothbrush": 90}


def forget() -> None:
    for name in NAMES:
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """An empty folder that the names point to for one test."""
    forget()
    register_builtin(str(tmp_path))
    yield tmp_path
    forget()
    register_builtin()


def write(
    path: Path, categories: dict[str, int], objects: list[dict[str, Any]] | None = None
) -> None:
    """Two images, and by default an object of each category in the first one."""
    if objects is None:
        objects = [{"category_id": i} for i in categories.values()]
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 60, "width": 80} for i in (10, 11)]
    annotations = [
        {"id": n, "image_id": 10, "bbox": [5, 6, 20, 10], "area": 200, "iscrowd": 0, **item}
        for n, item in enumerate(objects, 1)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    named = [{"id": i, "name": name} for name, i in categories.items()]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": named}))


@pytest.mark.parametrize(
    ("name", "json_file", "image"),
    [
        ("objects365_train", "objects365/annotations/objects365_train.json", "objects365/train"),
        ("objects365_val", "objects365/annotations/objects365_val.json", "objects365/val"),
        ("nuimages_train", "nuimages/annotations/nuimages_v1.0-train.json", "nuimages"),
        ("nuimages_val", "nuimages/annotations/nuimages_v1.0-val.json", "nuimages"),
        ("nuimages_mini", "nuimages/annotations/nuimages_v1.0-mini.json", "nuimages"),
        ("coco_un_yolov4_55_0.5", "coco/annotations/yolov4_cocounlabeled_55_ann0.5.json",
         "coco/unlabeled2017"),
        ("coco_2017_unlabeled", "coco/annotations/image_info_unlabeled2017.json",
         "coco/unlabeled2017"),
    ],
)  # fmt: skip
def test_layout(root: Path, name: str, json_file: str, image: str) -> None:
    with pytest.raises(UserError, match=f"{name}.* are not at .*{json_file}: set DETECTRON2"):
        DatasetCatalog.get(name)
    write(root / json_file, {"a": 1, "b": 2})
    records = DatasetCatalog.get(name)
    assert records[0]["file_name"] == os.path.join(root, image, "10.jpg")
    metadata = MetadataCatalog.get(name)
    assert metadata.evaluator_type == "coco"
    assert metadata.thing_classes == ["a", "b"]


def test_names_of_objects365_follow_the_ids_and_are_counted_once_known(root: Path) -> None:
    path = root / "objects365/annotations/objects365_train.json"
    write(path, {f"name {i}": i for i in range(365, 0, -1)})
    cfg = build_cfg(overrides=["MODEL.META_ARCHITECTURE=CenterNetDetector",
                               "MODEL.CENTERNET.NUM_CLASSES=80"])  # fmt: skip
    check_num_classes(cfg, "objects365_train")  # nothing is known yet
    (record, _) = DatasetCatalog.get("objects365_train")
    assert sorted(a["category_id"] for a in record["annotations"]) == list(range(365))
    names = MetadataCatalog.get("objects365_train").thing_classes
    assert (names[0], names[-1]) == ("name 1", "name 365")
    with pytest.raises(UserError, match="'objects365_train' has 365 classes .*NUM_CLASSES 365"):
        check_num_classes(cfg, "objects365_train")


def test_ids_of_nuimages_from_0_to_9_stay_in_results(root: Path, tmp_path: Path) -> None:
    mask = {"size": [60, 80], "counts": [306, 10, 50, 10, 4424]}
    write(
        root / "nuimages/annotations/nuimages_v1.0-val.json",
        {f"kind {i}": i for i in range(10)},
        [{"category_id": i, "segmentation": mask} for i in range(10)],
    )
    (record, _) = DatasetCatalog.get("nuimages_val")
    assert [a["category_id"] for a in record["annotations"]] == list(range(10))
    assert record["annotations"][0]["segmentation"]["size"] == [60, 80]
    found = Instances((60, 80))
    found.pred_boxes = Boxes(torch.tensor([[5.0, 6.0, 25.0, 16.0]]).repeat(10, 1))
    found.scores, found.pred_classes = torch.ones(10), torch.arange(10)
    evaluator = COCOEvaluator("nuimages_val", ("bbox",), False, str(tmp_path), use_fast_impl=False)
    evaluator.reset()
    evaluator.process([record], [{"instances": found}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)
    written = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert [result["category_id"] for result in written] == list(range(10))


def test_pseudo_labels_join_coco_and_their_scores_are_ignored(root: Path) -> None:
    objects = [{"category_id": 90, "score": 0.51}, {"category_id": 1, "score": 0.99}]
    pseudo = "coco/annotations/yolov4_cocounlabeled_55_ann0.5.json"
    write(root / pseudo, COCO_IDS, objects)
    (record, _) = DatasetCatalog.get("coco_un_yolov4_55_0.5")
    assert [a["category_id"] for a in record["annotations"]] == [2, 0]
    assert all("score" not in a for a in record["annotations"])
    labelled = [{**record, "annotations": record["annotations"][:1]} for _ in range(3)]
    DatasetCatalog.register("labelled_part", lambda: labelled)
    MetadataCatalog.get("labelled_part").thing_classes = list(COCO_IDS)
    sets = "DATASETS.TRAIN=('labelled_part', 'coco_un_yolov4_55_0.5')"
    loader = build_train_loader(build_cfg(overrides=[sets]))
    # Joined as they are: each image once, and the one without labels left out.
    assert loader._repeat_factors.tolist() == [1.0] * 4


def test_images_without_annotations_load(root: Path) -> None:
    path = root / "coco/annotations/image_info_unlabeled2017.json"
    write(path, COCO_IDS)
    content = json.loads(path.read_text())
    del content["annotations"]
    path.write_text(json.dumps(content))
    records = DatasetCatalog.get("coco_2017_unlabeled")
    assert [record["annotations"] for record in records] == [[], []]
    assert MetadataCatalog.get("coco_2017_unlabeled").thing_classes == list(COCO_IDS)
