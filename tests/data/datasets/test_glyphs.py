from __future__ import annotations

import logging
import os

import lvis
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from detectron2.evaluation import COCOEvaluator, LVISEvaluator
from detectron2.structures import Boxes, Instances
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from centernet2.data.datasets import register_builtin, register_glyphs
from centernet2.data.glyphs import GlyphConfig

COCO_STYLE = GlyphConfig(
    name="test_glyphs_coco",
    num_categories=5,
    num_train=12,
    num_val=10,
    image_size=(96, 128),
    objects_per_image=(1, 5),
    object_size=(12, 80),
)
LVIS_STYLE = GlyphConfig(
    name="test_glyphs_lvis",
    num_categories=12,
    num_train=60,
    num_val=12,
    image_size=(96, 128),
    objects_per_image=(2, 9),
    object_size=(12, 60),
    frequencies="long_tailed",
    style="lvis",
)


@pytest.fixture
def registered(tmp_path):
    """The two data sets above, not written yet; forgotten after the test."""
    for config in (COCO_STYLE, LVIS_STYLE):
        register_glyphs(config, str(tmp_path))
    yield tmp_path
    for config in (COCO_STYLE, LVIS_STYLE):
        for split in ("train", "val"):
            DatasetCatalog.remove(f"{config.name}_{split}")
            MetadataCatalog.remove(f"{config.name}_{split}")


def perfect_instances(record):
    """What a detector that is always right says of a record in Detectron2's format."""
    shape = record["height"], record["width"]
    result = Instances(shape)
    annotations = record["annotations"]
    boxes = np.reshape([annotation["bbox"] for annotation in annotations], (-1, 4)).astype(float)
    boxes[:, 2:] += boxes[:, :2]
    result.pred_boxes = Boxes(torch.as_tensor(boxes))
    result.scores = torch.full((len(annotations),), 0.9)
    result.pred_classes = torch.as_tensor(
        [annotation["category_id"] for annotation in annotations], dtype=torch.int64
    )
    masks = [
        coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(a["segmentation"], *shape)))
        for a in annotations
    ]
    result.pred_masks = torch.as_tensor(np.reshape(masks, (-1, *shape))).bool()
    return result


def evaluate(evaluator, records, predict=perfect_instances):
    evaluator.reset()
    for record in records:
        evaluator.process([record], [{"instances": predict(record)}])
    return evaluator.evaluate()


def test_names_are_known_before_anything_is_written(registered):
    metadata = MetadataCatalog.get("test_glyphs_lvis_train")
    assert metadata.thing_classes[0] == "black star"
    assert len(metadata.thing_classes) == 12
    assert metadata.evaluator_type == "lvis"
    assert MetadataCatalog.get("test_glyphs_coco_val").evaluator_type == "coco"
    assert not any(registered.iterdir())


def test_the_first_use_writes_both_splits(registered, caplog):
    with caplog.at_level(logging.INFO, logger="centernet2"):
        records = DatasetCatalog.get("test_glyphs_coco_val")
    assert len(records) == 10
    assert all(os.path.isfile(record["file_name"]) for record in records)
    (line,) = [r.getMessage() for r in caplog.records if "Writing" in r.getMessage()]
    assert f"(22 images) to {registered / 'test_glyphs_coco'}" in line
    caplog.clear()
    assert len(DatasetCatalog.get("test_glyphs_coco_train")) == 12
    assert not [r for r in caplog.records if "Writing" in r.getMessage()]


def test_coco_tools_load_the_file(registered, capsys):
    DatasetCatalog.get("test_glyphs_coco_val")
    api = COCO(MetadataCatalog.get("test_glyphs_coco_val").json_file)
    assert len(api.getImgIds()) == 10
    assert {annotation["category_id"] for annotation in api.anns.values()} == {1, 2, 3, 4, 5}
    for annotation in api.anns.values():
        assert api.annToMask(annotation).sum() == annotation["area"]


def test_perfect_detections_have_an_ap_of_100(registered):
    records = DatasetCatalog.get("test_glyphs_coco_val")
    evaluator = COCOEvaluator("test_glyphs_coco_val", distributed=False, use_fast_impl=False)
    results = evaluate(evaluator, records)
    for task in ("bbox", "segm"):
        assert results[task]["AP"] == pytest.approx(100)
        assert results[task]["AP75"] == pytest.approx(100)


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
@pytest.mark.parametrize("config", [COCO_STYLE, LVIS_STYLE], ids=lambda config: config.style)
def test_detectron2_maps_them_in_either_mask_format(registered, config, mask_format):
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN = (160,)
    cfg.INPUT.MASK_FORMAT = mask_format
    cfg.MODEL.MASK_ON = True
    mapper = DatasetMapper(cfg, is_train=True)
    for record in DatasetCatalog.get(f"{config.name}_train")[:6]:
        mapped = mapper(record)
        instances = mapped["instances"]
        assert len(instances) == len(record["annotations"])
        boxes, masks = instances.gt_boxes.tensor, instances.gt_masks
        # The masks were transformed as the boxes were, flips included.
        difference = (masks.get_bounding_boxes().tensor - boxes).abs()
        assert difference.max() <= (0.01 if mask_format == "polygon" else 2.0)


def test_lvis_loads_the_file_and_it_is_consistent(registered):
    DatasetCatalog.get("test_glyphs_lvis_train")
    api = lvis.LVIS(MetadataCatalog.get("test_glyphs_lvis_train").json_file)
    assert len(api.get_img_ids()) == 60
    everything = set(api.get_cat_ids())
    assert everything == set(range(1, 13))
    images, instances = dict.fromkeys(everything, 0), dict.fromkeys(everything, 0)
    for image in api.load_imgs(None):
        labels = api.img_ann_map[image["id"]]
        positive = {label["category_id"] for label in labels}
        negative = set(image["neg_category_ids"])
        assert negative <= everything
        assert not negative & positive
        assert set(image["not_exhaustive_category_ids"]) <= positive
        for category in positive:
            images[category] += 1
        for label in labels:
            instances[label["category_id"]] += 1
            assert api.ann_to_mask(label).sum() == label["area"]
    for category in api.load_cats(None):
        assert category["image_count"] == images[category["id"]] > 0
        assert category["instance_count"] == instances[category["id"]]
        limits = {"r": (1, 10), "c": (11, 100), "f": (101, 10**9)}[category["frequency"]]
        assert limits[0] <= category["image_count"] <= limits[1]
        assert category["synset"]
        assert category["synonyms"]
        assert category["def"]
    assert max(images.values()) > 5 * min(images.values())


def test_class_counts_are_in_the_metadata_once_written(registered):
    assert not hasattr(MetadataCatalog.get("test_glyphs_lvis_train"), "class_image_count")
    DatasetCatalog.get("test_glyphs_lvis_train")
    counts = MetadataCatalog.get("test_glyphs_lvis_train").class_image_count
    api = lvis.LVIS(MetadataCatalog.get("test_glyphs_lvis_train").json_file)
    assert counts == [
        {"id": category["id"], "image_count": category["image_count"]}
        for category in sorted(api.load_cats(None), key=lambda category: category["id"])
    ]
    # A later process knows them from the start: models are built before data is loaded.
    DatasetCatalog.remove("test_glyphs_lvis_train")
    MetadataCatalog.remove("test_glyphs_lvis_train")
    register_glyphs(LVIS_STYLE, str(registered))
    assert MetadataCatalog.get("test_glyphs_lvis_train").class_image_count == counts


def test_perfect_detections_have_an_lvis_ap_of_100(registered):
    records = DatasetCatalog.get("test_glyphs_lvis_val")
    results = evaluate(LVISEvaluator("test_glyphs_lvis_val", distributed=False), records)
    for task in ("bbox", "segm"):
        assert results[task]["AP"] == pytest.approx(100)


def test_lvis_counts_false_positives_of_known_absence_alone(registered):
    records = DatasetCatalog.get("test_glyphs_lvis_val")
    api = lvis.LVIS(MetadataCatalog.get("test_glyphs_lvis_val").json_file)

    def with_extra(categories_of):
        def predict(record):
            result = perfect_instances(record)
            extra = sorted(categories_of(record))
            more = Instances(result.image_size)
            more.pred_boxes = Boxes(torch.tensor([[1.0, 1.0, 30.0, 30.0]]).repeat(len(extra), 1))
            more.scores = torch.full((len(extra),), 0.99)
            more.pred_classes = torch.tensor(extra, dtype=torch.int64)
            more.pred_masks = torch.zeros(len(extra), *result.image_size, dtype=torch.bool)
            return Instances.cat([result, more])

        evaluator = LVISEvaluator("test_glyphs_lvis_val", tasks=("bbox",), distributed=False)
        return evaluate(evaluator, records, predict)["bbox"]["AP"]

    def negatives(record):
        return {category - 1 for category in record["neg_category_ids"]}

    def unknown(record):
        present = {annotation["category_id"] for annotation in record["annotations"]}
        return set(range(12)) - present - negatives(record)

    assert any(unknown(record) for record in records), "no image leaves a category open"
    assert len(api.get_img_ids()) == len(records)
    assert with_extra(unknown) == pytest.approx(100)
    assert with_extra(negatives) < 90


def test_registering_again_changes_nothing(registered):
    before = DatasetCatalog.get("test_glyphs_coco_val")
    register_glyphs(COCO_STYLE, "elsewhere")
    register_builtin("elsewhere")
    assert DatasetCatalog.get("test_glyphs_coco_val") == before


def test_importing_the_package_registers_the_larger_ones():
    """Where they are written: test_quickstart.py."""
    assert len(MetadataCatalog.get("glyphs_1203_train").thing_classes) == 1203
    assert len(MetadataCatalog.get("glyphs_80_val").thing_classes) == 80
