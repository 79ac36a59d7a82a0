"""Class frequencies from a file, from metadata, and counted from any registered data set."""

from __future__ import annotations

import json
import uuid

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_lvis_json
from detectron2.structures import BoxMode

from centernet2.config import add_centernet_config
from centernet2.errors import UserError
from centernet2.modeling.roi_heads.class_frequency import TrainingImageCounts, class_image_counts


@pytest.fixture
def register():
    names = []

    def add(records, class_image_count=None, prefix="frequency"):
        name = f"{prefix}_{uuid.uuid4().hex}"
        DatasetCatalog.register(name, lambda: records)
        if class_image_count is not None:
            MetadataCatalog.get(name).set(class_image_count=class_image_count)
        names.append(name)
        return name

    yield add
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)


def load_defaults():
    cfg = get_cfg()
    add_centernet_config(cfg)
    return cfg


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


def test_metadata_that_loading_sets_comes_first_too():
    name = f"frequency_{uuid.uuid4().hex}"

    def load():
        MetadataCatalog.get(name).set(class_image_count=[{"id": 1, "image_count": 30}])
        return [image(0)]

    DatasetCatalog.register(name, load)
    try:
        assert class_image_counts([name], 1).tolist() == [30]
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)


def test_boxes_alone_are_enough_to_count(register):
    box = {"bbox": [1.0, 2.0, 3.0, 4.0], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
    assert class_image_counts([register([{"annotations": [box, box]}, {}])], 3).tolist() == [
        0,
        1,
        0,
    ]


def _write(path, *image_counts):
    records = [{"id": i, "image_count": n} for i, n in enumerate(image_counts, 1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records[::-1]))  # in any order
    return str(path)


def test_a_file_that_the_user_names_comes_before_both(register, tmp_path):
    path = _write(tmp_path / "cat_info.json", 5, 7)
    given = register([image(0)], [{"id": 1, "image_count": 20}, {"id": 2, "image_count": 10}])
    assert class_image_counts([given, register([image(0)])], 2, path).tolist() == [5, 7]


def test_a_file_that_the_user_names_must_be_there(register, tmp_path):
    with pytest.raises(UserError, match="absent.json.*CAT_FREQ_PATH"):
        class_image_counts([register([image(0)])], 2, str(tmp_path / "absent.json"))


@pytest.mark.parametrize("text", ["not JSON", "{}x", "[1, 2]", '[{"id": 1}]', "7"])
def test_a_file_of_something_else_is_named(register, tmp_path, text):
    path = tmp_path / "cat_info.json"
    path.write_text(text)
    with pytest.raises(UserError, match="cat_info.json.*image_count"):
        class_image_counts([register([image(0)])], 2, str(path))


def test_the_default_file_is_for_lvis_alone(register, tmp_path, monkeypatch):
    """Another data set may have as many classes, and the file lie where the user stands."""
    monkeypatch.chdir(tmp_path)
    lvis, other = register([image(0)], prefix="lvis_v1_train"), register([image(1)])
    default = load_defaults().MODEL.ROI_BOX_HEAD.CAT_FREQ_PATH
    assert class_image_counts([lvis], 2, default).tolist() == [1, 0]  # it may be absent
    _write(tmp_path / default, 5, 7)
    assert class_image_counts([lvis], 2, default).tolist() == [5, 7]
    assert class_image_counts([other], 2, default).tolist() == [0, 1]
    assert class_image_counts([lvis, other], 2, default).tolist() == [1, 1]
    # Another spelling of the path is a choice
    assert class_image_counts([other], 2, f"./{default}").tolist() == [5, 7]


@pytest.mark.parametrize(
    ("records", "metadata", "words"),
    [
        ([], [{"id": 1, "image_count": 10}], "1 classes.*NUM_CLASSES is 2"),
        ([image(0), image(4)], None, "5 classes.*NUM_CLASSES is 2"),
    ],
)
def test_another_number_of_classes_is_named(register, records, metadata, words):
    with pytest.raises(UserError, match=words):
        class_image_counts([register(records, metadata)], 2)


def test_training_data_of_a_config_are_read_at_the_first_call_and_once(load_config):
    name, loaded = f"frequency_{uuid.uuid4().hex}", []
    cfg = load_config("CenterNet2_R50_1x.yaml", "DATASETS.TRAIN", (name,))
    counts = TrainingImageCounts(cfg)
    DatasetCatalog.register(name, lambda: loaded.append(1) or [image(0, 79), image(79)])
    try:
        assert not loaded
        first, second = counts(), counts()
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)
    assert loaded == [1]
    assert first.tolist() == second.tolist() == [1] + [0] * 78 + [2]


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
        MetadataCatalog.pop(name, None)
    stated = [c["image_count"] for c in sorted(content["categories"], key=lambda c: c["id"])]
    assert torch.equal(counts, torch.tensor(stated, dtype=torch.float32))
