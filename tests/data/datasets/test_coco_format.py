from __future__ import annotations

import json

import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from detectron2.evaluation import LVISEvaluator

from centernet2.data.datasets import (
    datasets_root,
    register_builtin,
    register_coco_format,
    register_lvis_format,
)
from centernet2.errors import UserError

REAL = [
    f"{name}_{split}"
    for name in ("penn_fudan", "bccd", "coco_mini", "coco_mini_lvis")
    for split in ("train", "val")
]


def forget(names):
    for name in names:
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)


@pytest.fixture
def real_images(shared_data):
    """The builtin names, pointing to the folder of real images for one test."""
    forget(REAL)
    register_builtin(str(shared_data))
    yield
    forget(REAL)
    register_builtin()


@pytest.fixture
def temporary_name():
    name = "test_coco_format_data"
    yield name
    forget([name])


def test_the_root_is_detectron2s(monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", "/some/where")
    assert datasets_root() == "/some/where"
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert datasets_root() == "datasets"


@pytest.mark.parametrize("name", REAL)
def test_builtin_names_are_registered_on_import(name):
    assert name in DatasetCatalog
    metadata = MetadataCatalog.get(name)
    assert metadata.evaluator_type == ("lvis" if "lvis" in name else "coco")
    assert len(metadata.thing_classes) in (1, 3, 80)


@pytest.mark.parametrize(
    ("name", "images", "classes"),
    [
        ("penn_fudan_train", 136, ["person"]),
        ("penn_fudan_val", 34, ["person"]),
        ("bccd_train", 291, ["RBC", "WBC", "Platelets"]),
        ("bccd_val", 73, ["RBC", "WBC", "Platelets"]),
    ],
)
@pytest.mark.usefixtures("real_images")
def test_real_data_sets_load(name, images, classes):
    records = DatasetCatalog.get(name)
    assert len(records) == images
    assert MetadataCatalog.get(name).thing_classes == classes


@pytest.mark.parametrize("style", ["coco_mini", "coco_mini_lvis"])
@pytest.mark.usefixtures("real_images")
def test_coco_loads_in_either_style(style):
    records = DatasetCatalog.get(f"{style}_train")
    assert len(records) == 80
    classes = MetadataCatalog.get(f"{style}_train").thing_classes
    assert len(classes) == 80
    assert classes[:2] == ["person", "bicycle"]
    # A label of the same object has the same class in both: image 493652 shows these.
    (record,) = [record for record in records if record["image_id"] == 493652]
    assert record["file_name"].endswith("train2017/000000493652.jpg")
    assert max(annotation["category_id"] for annotation in record["annotations"]) < 80
    mapped = DatasetMapper(get_cfg(), is_train=True)(record)
    assert len(mapped["instances"]) > 0


@pytest.mark.usefixtures("real_images")
def test_lvis_style_has_class_counts_and_can_be_evaluated():
    DatasetCatalog.get("coco_mini_lvis_val")
    counts = MetadataCatalog.get("coco_mini_lvis_val").class_image_count
    assert [entry["id"] for entry in counts] == list(range(1, 81))
    assert all(entry["image_count"] >= 0 for entry in counts)
    evaluator = LVISEvaluator("coco_mini_lvis_val", distributed=False)
    assert evaluator._do_evaluation


@pytest.mark.parametrize("mask_format", ["bitmask"])
@pytest.mark.usefixtures("real_images")
def test_run_length_masks_are_read_as_bitmasks(mask_format):
    cfg = get_cfg()
    cfg.MODEL.MASK_ON = True
    cfg.INPUT.MASK_FORMAT = mask_format
    record = DatasetCatalog.get("penn_fudan_train")[0]
    instances = DatasetMapper(cfg, is_train=True)(record)["instances"]
    assert instances.gt_masks.tensor.flatten(1).any(dim=1).all()
    difference = instances.gt_masks.get_bounding_boxes().tensor - instances.gt_boxes.tensor
    assert difference.abs().max() < 4


@pytest.mark.parametrize("register", [register_coco_format, register_lvis_format])
def test_a_missing_file_is_named_with_its_cure(tmp_path, temporary_name, register):
    file = tmp_path / "gone.json"
    register(temporary_name, str(file), str(tmp_path))
    with pytest.raises(UserError, match=f"{temporary_name}.* are not at {file}: set DETECTRON2"):
        DatasetCatalog.get(temporary_name)


def write_coco(path, category_ids):
    path.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.jpg", "height": 9, "width": 9}],
                "annotations": [
                    {"id": 1, "image_id": 1, "category_id": category_ids[-1], "iscrowd": 0,
                     "bbox": [1, 2, 3, 4], "area": 12}
                ],
                "categories": [
                    {"id": i, "name": f"c{i}", "synonyms": [f"c{i}"], "image_count": 1}
                    for i in category_ids
                ],
            }
        )
    )  # fmt: skip


def test_category_ids_may_have_gaps_and_names_come_from_the_file(tmp_path, temporary_name):
    write_coco(tmp_path / "a.json", [3, 7])
    register_coco_format(temporary_name, str(tmp_path / "a.json"), "images")
    assert not hasattr(MetadataCatalog.get(temporary_name), "thing_classes")
    (record,) = DatasetCatalog.get(temporary_name)
    assert MetadataCatalog.get(temporary_name).thing_classes == ["c3", "c7"]
    assert record["annotations"][0]["category_id"] == 1
    assert record["file_name"] == "images/a.jpg"


def test_lvis_ids_may_not(tmp_path, temporary_name):
    write_coco(tmp_path / "a.json", [3, 7])
    register_lvis_format(temporary_name, str(tmp_path / "a.json"), "images")
    with pytest.raises(UserError, match=r"a\.json: category ids must be 1 to 2 without gaps"):
        DatasetCatalog.get(temporary_name)
