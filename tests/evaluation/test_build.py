from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json, register_coco_instances
from detectron2.structures import Boxes, BoxMode, Instances

from centernet2.data.datasets.lvis_format import register_lvis_format
from centernet2.engine import build_cfg
from centernet2.errors import UserError
from centernet2.evaluation import build_evaluator


def registered(name: str, json_file: Path, images: Path) -> list[Any]:
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    register_coco_instances(name, {}, str(json_file), str(images))
    return DatasetCatalog.get(name)


def ideal(record: dict[str, Any], masks: bool = False) -> dict[str, Instances]:
    """The ground truth of an image as detections."""
    found = Instances((record["height"], record["width"]))
    truth = [a for a in record["annotations"] if not a.get("iscrowd", 0)]
    boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in truth]
    found.pred_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
    found.scores = torch.ones(len(truth))
    found.pred_classes = torch.tensor([a["category_id"] for a in truth], dtype=torch.long)
    if masks:
        pictures = [_mask(a["segmentation"]) for a in truth]
        found.pred_masks = torch.from_numpy(np.stack(pictures).astype(bool))
    return {"instances": found}


def _mask(segmentation: Any) -> np.ndarray:
    assert isinstance(segmentation, dict)
    return mask_util.decode(segmentation)


def scores(
    name: str, records: list[Any], folder: Path, masks: bool = False, none: bool = False
) -> dict[str, Any]:
    evaluator = build_evaluator(build_cfg(), name, str(folder))
    evaluator.reset()
    for record in records:
        output = ideal(record, masks)
        if none:
            output["instances"] = output["instances"][:0]
        evaluator.process([record], [output])
    return dict(evaluator.evaluate())


def test_ideal_boxes_of_a_file_without_info(shared_data: Path, tmp_path: Path) -> None:
    json_file = shared_data / "bccd" / "val.json"
    assert "info" not in json.loads(json_file.read_text())
    records = registered("evaluated_bccd", json_file, shared_data / "bccd" / "images")
    results = scores("evaluated_bccd", records, tmp_path)
    assert results["bbox"]["AP"] > 99
    assert set(results) == {"bbox"}
    assert {"AP-RBC", "AP-WBC", "AP-Platelets"} <= set(results["bbox"])


def test_ideal_masks(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "penn_fudan"
    records = registered("evaluated_penn", folder / "val.json", folder / "images")
    results = scores("evaluated_penn", records, tmp_path, masks=True)
    assert results["bbox"]["AP"] > 99
    assert results["segm"]["AP"] > 99


def test_masks_predicted_where_truth_has_none(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "penn_fudan"
    data = json.loads((folder / "val.json").read_text())
    for annotation in data["annotations"]:
        del annotation["segmentation"]
    (tmp_path / "boxes.json").write_text(json.dumps(data))
    with_masks = load_coco_json(
        str(folder / "val.json"), str(folder / "images"), "evaluated_with_masks"
    )
    registered("evaluated_boxes", tmp_path / "boxes.json", folder / "images")
    assert set(scores("evaluated_boxes", with_masks, tmp_path, masks=True)) == {"bbox"}


def test_no_detection_at_all(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "penn_fudan"
    records = registered("evaluated_penn", folder / "val.json", folder / "images")
    results = scores("evaluated_penn", records, tmp_path, none=True)
    assert not results["bbox"]["AP"] > 0


def test_ideal_boxes_of_lvis(shared_data: Path, tmp_path: Path) -> None:
    json_file = shared_data / "coco_mini" / "annotations" / "lvis_style_val.json"
    name = "evaluated_lvis"
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    register_lvis_format(name, str(json_file), str(shared_data / "coco_mini"))
    results = scores(name, DatasetCatalog.get(name), tmp_path)
    assert results["bbox"]["AP"] > 99
    assert {"APr", "APc", "APf"} <= set(results["bbox"])


def test_other_kinds_are_refused() -> None:
    MetadataCatalog.get("evaluated_city").evaluator_type = "cityscapes_instance"
    with pytest.raises(UserError, match="asks for the evaluator 'cityscapes_instance'"):
        build_evaluator(build_cfg(), "evaluated_city")
