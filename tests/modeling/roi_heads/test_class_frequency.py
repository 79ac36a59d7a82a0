"""Class frequencies from a file, from metadata, and counted from any registered data set."""

from __future__ import annotations

import json
import uuid

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_lvis_json

from centernet2.modeling.roi_heads.class_frequency import class_image_counts


@pytest.fixture
def register():
    names = []

    def add(records, class_image_count=None):
        name = f"frequency_{uuid.uuid4().hex}"
        DatasetCatalog.register(name, lambda: records)
        if class_image_count is not None:
            MetadataCatalog.get(name).set(class_image_count=class_image_count)
        names.append(name)
        return name

    yield add
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def image(*category_ids, crowd=()):
    objects = [{"category_id": c, "iscrowd": 0} for c in category_ids]
    return {"annotations": objects + [{"category_id": c, "iscrowd": 1} for c in crowd]}


def test_images_are_counted_once_a_class_and_crowds_not(register):
    name = register([image(0, 0, 2), image(2), image(), image(1, crowd=[0])])
    assert class_image_counts([name], 3).tolist() == [2 - 1, 1, 2]


def test_several_sets_add_up_and_metadata_comes_first(register):
    counted = register([image(0), image(1)])
    given = register([image(0)], [{"id": 2, "image_count": 20}, {"id": 1, "image_count": 10}])
    assert class_image_counts([counted, given], 2).tolist() == [11, 21]


def test_a_file_comes_before_both(register, tmp_path):
    path = tmp_path / "cat_info.json"
    path.write_text(json.dumps([{"id": 1, "image_count": 5}, {"id": 2, "image_count": 7}]))
    name = register([image(0)])
    assert class_image_counts([name], 2, str(path)).tolist() == [5, 7]
    assert class_image_counts([name], 2, str(tmp_path / "absent.json")).tolist() == [1, 0]


def test_another_number_of_classes_is_named(register):
    name = register([], [{"id": 1, "image_count": 10}])
    with pytest.raises(ValueError, match="1 classes.*NUM_CLASSES is 2"):
        class_image_counts([name], 2)


def test_counts_of_real_lvis_files_are_their_own(shared_data):
    """The image_count that the LVIS-style file states equals what is counted from its images."""
    folder = shared_data / "coco_mini"
    path = folder / "annotations" / "lvis_style_train.json"
    content = json.loads(path.read_text())
    name = f"frequency_{uuid.uuid4().hex}"
    DatasetCatalog.register(name, lambda: load_lvis_json(str(path), str(folder)))
    try:
        counts = class_image_counts([name], len(content["categories"]))
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    stated = [c["image_count"] for c in sorted(content["categories"], key=lambda c: c["id"])]
    assert torch.equal(counts, torch.tensor(stated, dtype=torch.float32))
