from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.modeling import build_model
from detectron2.structures import Boxes, ImageList, Instances
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from centernet2.engine import build_cfg
from centernet2.errors import UserError
from centernet2.evaluation.proposals import ProposalEvaluator, first_stage, recall_of

AREAS = {"all": (0, 1e10), "small": (0, 1024), "medium": (1024, 9216), "large": (9216, 1e10)}
IOUS = np.linspace(0.5, 0.95, 10)


def iou(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inside = np.prod(np.clip(high - low, 0, None))
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inside
    return inside / union if union else 0.0


def expected_recall(boxes_of, scores_of, truth, area, k):
    """Recall at each threshold, by the definition: pairs of falling IoU, each box once."""
    covered, objects = [], 0
    for image, boxes in boxes_of.items():
        best = boxes[np.argsort(-scores_of[image], kind="stable")][:k]
        wanted = [
            np.array([x, y, x + w, y + h])
            for a in truth.imgToAnns[image]
            for x, y, w, h in [a["bbox"]]
            if not a["iscrowd"] and AREAS[area][0] <= a["area"] <= AREAS[area][1]
        ]
        objects += len(wanted)
        pairs = [(iou(box, w), i, j) for i, box in enumerate(best) for j, w in enumerate(wanted)]
        taken_boxes, taken_objects = set(), set()
        for overlap, i, j in sorted(pairs, reverse=True):
            if i not in taken_boxes and j not in taken_objects:
                taken_boxes.add(i)
                taken_objects.add(j)
                covered.append(overlap)
    if not objects:
        return np.full(len(IOUS), np.nan)
    return np.array([sum(c >= t for c in covered) / objects for t in IOUS])


def make_truth(boxes_of, crowds=()):
    """COCO's object; boxes XYXY, crowds as (image, index)."""
    coco = COCO()
    annotations = [
        {
            "id": 1000 * image + i,
            "image_id": image,
            "category_id": 1 + i % 2,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": int((image, i) in crowds),
        }
        for image, boxes in boxes_of.items()
        for i, (x1, y1, x2, y2) in enumerate(np.asarray(boxes, dtype=float).tolist())
    ]
    coco.dataset = {
        "info": {},
        "images": [{"id": image, "width": 400, "height": 400} for image in boxes_of],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def make_records(boxes_of, scores_of):
    records = []
    for image, boxes in boxes_of.items():
        proposals = Instances((400, 400))
        proposals.proposal_boxes = Boxes(torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4))
        proposals.objectness_logits = torch.as_tensor(scores_of[image], dtype=torch.float32)
        records.append({"image_id": image, "proposals": proposals})
    return records


def random_boxes(rng, count):
    side = 5 + 200 * rng.random((count, 2)) ** 2
    low = rng.random((count, 2)) * (400 - side)
    return np.concatenate([low, low + side], axis=1).astype(np.float32)


def near(rng, boxes, count):
    """Proposals: shifted copies of some boxes, and others anywhere."""
    copies = boxes[rng.integers(0, len(boxes), count)] if len(boxes) else boxes
    copies = copies + rng.normal(0, 4, copies.shape).astype(np.float32)
    copies[:, 2:] = np.maximum(copies[:, 2:], copies[:, :2] + 1)
    return np.concatenate([copies, random_boxes(rng, count // 2)])


@pytest.mark.parametrize("seed", range(6))
def test_recall_is_that_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    objects = {image: random_boxes(rng, n) for image, n in enumerate([7, 0, 1, 12, 3], start=1)}
    found = {image: near(rng, boxes, 20) for image, boxes in objects.items()}
    found[3] = np.zeros((0, 4), dtype=np.float32)  # misses its object
    found[5] = np.zeros((0, 4), dtype=np.float32)  # misses three, one of them a crowd
    scores = {image: rng.permutation(len(boxes)).astype(float) for image, boxes in found.items()}
    truth = make_truth(objects, crowds={(1, 2), (5, 0)})
    measured = recall_of(make_records(found, scores), truth, counts=(15, 1, 5))
    assert measured.counts == (1, 5, 15)
    assert measured.objects["all"] == 7 + 1 + 12 + 3 - 2
    np.testing.assert_allclose(measured.ious, IOUS, atol=1e-6)
    for size in AREAS:
        expected = [expected_recall(found, scores, truth, size, k) for k in measured.counts]
        np.testing.assert_allclose(measured.recall[size], expected, atol=1e-6)
    assert measured.proposals == np.mean([len(boxes) for boxes in found.values()])


def test_recall_of_objects_that_lie_apart_is_pycocotools_without_classes():
    rng = np.random.default_rng(0)
    cells = np.stack(np.meshgrid(range(4), range(4)), axis=-1).reshape(-1, 2) * 100.0
    objects, found = {}, {}
    for image in range(1, 5):
        side = rng.choice([20.0, 50.0, 97.0], size=(16, 1)) * np.array([[1.0, 1.0]])
        objects[image] = np.concatenate([cells, cells + side], axis=1).astype(np.float32)
        found[image] = near(rng, objects[image], 60)
    scores = {image: rng.permutation(len(boxes)) / 1000 for image, boxes in found.items()}
    truth = make_truth(objects)
    results = [
        {
            "image_id": image,
            "category_id": 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": float(score),
        }
        for image, boxes in found.items()
        for (x1, y1, x2, y2), score in zip(boxes.astype(float).tolist(), scores[image])
    ]
    reference = COCOeval(truth, truth.loadRes(results), "bbox")
    reference.params.useCats = 0
    reference.params.maxDets = [10, 30, 90]
    reference.evaluate()
    reference.accumulate()
    recall = reference.eval["recall"]  # T, 1, sizes, counts
    measured = recall_of(make_records(found, scores), truth, counts=(10, 30, 90))
    for i, size in enumerate(AREAS):
        np.testing.assert_allclose(measured.recall[size], recall[:, 0, i].T, atol=1e-6)
    assert 5 < measured.average()[0] < measured.average()[2] < 95


def test_objects_of_images_without_proposals_are_missed():
    objects = {1: np.array([[0, 0, 50, 50]]), 2: np.array([[0, 0, 50, 50]])}
    found = {1: objects[1], 2: np.zeros((0, 4))}
    records = make_records(found, {1: np.ones(1), 2: np.ones(0)})
    assert recall_of(records, make_truth(objects), counts=(10,)).average().tolist() == [50.0]


def test_metrics_have_detectron2s_names_and_sizes_without_objects_no_value():
    objects = {1: np.array([[0, 0, 50, 50], [200, 200, 390, 390]])}
    records = make_records({1: objects[1][:1]}, {1: np.ones(1)})
    metrics = recall_of(records, make_truth(objects), counts=(10, 100)).metrics()
    assert list(metrics) == [f"AR{size}@{k}" for size in ("", "s", "m", "l") for k in (10, 100)]
    assert (metrics["AR@10"], metrics["ARm@100"], metrics["ARl@100"]) == (50, 100, 0)
    assert np.isnan(metrics["ARs@10"])


@pytest.fixture
def bare_dataset(tmp_path, request):
    """A data set whose annotations, as LVIS's, have no "iscrowd"; or, on request, without any."""
    truth = make_truth({1: np.array([[0, 0, 50, 50]]), 2: np.array([[100, 0, 200, 50]])}).dataset
    for annotation in truth["annotations"]:
        del annotation["iscrowd"], annotation["area"]
    if getattr(request, "param", "annotated") == "images alone":
        del truth["annotations"]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    register_coco_instances("bare_dataset", {}, str(tmp_path / "truth.json"), str(tmp_path))
    yield "bare_dataset"
    DatasetCatalog.remove("bare_dataset")
    MetadataCatalog.remove("bare_dataset")


def test_the_evaluator_measures_what_a_first_stage_gives(bare_dataset):
    evaluator = ProposalEvaluator(bare_dataset, counts=(1, 2), distributed=False)
    found = {1: np.array([[300, 0, 350, 50], [0, 0, 50, 50]]), 2: np.array([[100, 0, 200, 50]])}
    records = make_records(found, {1: np.array([0.9, 0.5]), 2: np.array([0.1])})
    evaluator.reset()
    for record in records:
        evaluator.process([{"image_id": record["image_id"]}], [{"proposals": record["proposals"]}])
    results = evaluator.evaluate()
    assert results["box_proposals"]["AR@1"] == 50
    assert results["box_proposals"]["AR@2"] == 100
    assert evaluator.recall.average().tolist() == [50, 100]


@pytest.mark.parametrize("bare_dataset", ["images alone"], indirect=True)
def test_a_data_set_without_annotations_is_refused(bare_dataset):
    with pytest.raises(UserError, match="'bare_dataset' has no annotations"):
        ProposalEvaluator(bare_dataset)


CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.mark.parametrize("kind", ["CenterNet2", "CascadeRCNN"])
def test_the_first_stage_gives_what_the_second_one_gets(kind):
    cfg = build_cfg(str(CONFIGS / f"small/{kind}_MobileNetV2_bccd.yaml"), ["MODEL.DEVICE", "cpu"])
    model = build_model(cfg).eval()
    network = first_stage(model)
    assert not network.training
    image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        (output,) = network([{"image": image, "height": 128, "width": 192}])
        images = model.preprocess_image([{"image": image}])
        assert isinstance(images, ImageList)
        (expected,), _ = model.proposal_generator(images, model.backbone(images.tensor))
    boxes = expected.proposal_boxes
    boxes.scale(2, 2)
    boxes.clip((128, 192))
    wanted = boxes.tensor[boxes.nonempty()]
    torch.testing.assert_close(output["proposals"].proposal_boxes.tensor, wanted)
    assert len(wanted) > 10


def test_detectors_of_one_stage_are_refused():
    cfg = build_cfg(str(CONFIGS / "CenterNet-S4_DLA_8x.yaml"), ["MODEL.DEVICE", "cpu"])
    cfg.MODEL.WEIGHTS = ""
    model = build_model(cfg)
    with pytest.raises(UserError, match="CenterNetDetector has no first stage"):
        first_stage(model)
