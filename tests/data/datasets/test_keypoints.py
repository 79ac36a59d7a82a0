from __future__ import annotations

import json

from detectron2.data import DatasetCatalog, MetadataCatalog

from centernet2.data.datasets.coco_format import register_coco_format
from centernet2.data.datasets.keypoints import keypoint_metadata, read_keypoint_metadata

HAND = {"id": 3, "name": "hand", "keypoints": ["wrist", "left_tip", "right_tip", "left"]}


def test_coco_itself(shared_data):
    file = shared_data / "coco_mini" / "annotations" / "person_keypoints_val2017.json"
    found = read_keypoint_metadata(file)
    registered = MetadataCatalog.get("keypoints_coco_2017_val")
    assert found["keypoint_names"] == list(registered.keypoint_names)
    assert {tuple(p) for p in found["keypoint_flip_map"]} == set(registered.keypoint_flip_map)


def test_other_keypoints():
    found = keypoint_metadata([{"id": 1, "name": "box", "keypoints": 5}, {"id": 2}, HAND])
    assert found == {
        "keypoint_names": HAND["keypoints"], "keypoint_flip_map": [("left_tip", "right_tip")],
    }  # fmt: skip
    assert keypoint_metadata([{"id": 1, "name": "box"}]) == {}


def test_names_are_known_once_the_file_is_read(tmp_path):
    file = tmp_path / "hands.json"
    annotation = {
        "id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 0,
        "keypoints": [1, 1, 2] * 4, "num_keypoints": 4,
    }  # fmt: skip
    image = {"id": 1, "file_name": "1.png", "width": 9, "height": 9}
    content = {"images": [image], "annotations": [annotation], "categories": [HAND]}
    file.write_text(json.dumps(content), encoding="utf-8")
    name = "hands_for_keypoint_names"
    register_coco_format(name, str(file), str(tmp_path))
    try:
        (record,) = DatasetCatalog.get(name)
        assert MetadataCatalog.get(name).keypoint_names == HAND["keypoints"]
        assert record["annotations"][0]["keypoints"][:2] == [1.5, 1.5]
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_the_few_people_of_coco_are_registered(shared_data, monkeypatch):
    metadata = MetadataCatalog.get("coco_mini_keypoints_val")
    assert metadata.thing_classes == ["person"]
    assert len(metadata.keypoint_names) == 17 and len(metadata.keypoint_flip_map) == 8
