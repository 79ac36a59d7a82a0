from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.layers import paste_masks_in_image
from detectron2.modeling import build_model
from detectron2.projects.point_rend import add_pointrend_config
from detectron2.structures import Boxes, Instances, pairwise_iou
from PIL import Image
from torch import nn

from centernet2.modeling.test_time_augmentation import TestTimeAugmentation, merge_detections

HEIGHT, WIDTH = 96, 123  # an odd width: mirroring may not lean on the strides
IDENTITY = T.ResizeShortestEdge(HEIGHT, 10 * HEIGHT)


def instances(size, boxes, scores, classes) -> Instances:
    return Instances(
        size,
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        scores=torch.tensor(scores),
        pred_classes=torch.tensor(classes, dtype=torch.long),
    )


@pytest.fixture(params=["one-stage", "two-stage", "single stage", "masks", "PointRend", "RPN"])
def model(request, load_config):
    return make_model(request.param, load_config)


@pytest.fixture(params=["masks", "PointRend"])
def mask_model(request, load_config):
    return make_model(request.param, load_config)


def make_model(kind: str, load_config) -> nn.Module:
    """Random weights, no score threshold: about a hundred boxes an image."""
    file, changes = {
        "one-stage": ("CenterNet-FPN_R50_1x.yaml", ["MODEL.CENTERNET.INFERENCE_TH", 0.0]),
        "two-stage": ("CenterNet2_R50_1x.yaml", []),
        "single stage": ("CenterNet2_R50_1x.yaml", ["MODEL.ROI_HEADS.NAME", "CenterNetROIHeads"]),
        "masks": ("small/Base-CenterNet2-MobileNetV2.yaml", ["MODEL.MASK_ON", True]),
        "PointRend": ("small/Base-CenterNet2-MobileNetV2.yaml", ["MODEL.MASK_ON", True]),
        "RPN": ("small/CascadeRCNN_MobileNetV2_pennfudan.yaml", ["MODEL.MASK_ON", True]),
    }[kind]
    # 64 channels: group normalisation needs more than one value a group on the coarsest level
    changes = [*changes, "MODEL.FPN.OUT_CHANNELS", 64, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0]
    cfg = load_config(file, *changes)
    cfg.TEST.DETECTIONS_PER_IMAGE = 40
    if kind == "PointRend":
        add_pointrend_config(cfg)
        first = cfg.MODEL.ROI_HEADS.IN_FEATURES[0]
        cfg.merge_from_list([
            "MODEL.ROI_MASK_HEAD.NAME", "PointRendMaskHead",
            "MODEL.ROI_MASK_HEAD.POOLER_TYPE", "",
            "MODEL.ROI_MASK_HEAD.FC_DIM", 16,
            "MODEL.ROI_MASK_HEAD.NUM_FC", 1,
            "MODEL.ROI_MASK_HEAD.OUTPUT_SIDE_RESOLUTION", 7,
            "MODEL.ROI_MASK_HEAD.IN_FEATURES", [first],
            "MODEL.ROI_MASK_HEAD.POINT_HEAD_ON", True,
            "MODEL.POINT_HEAD.NUM_CLASSES", cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "MODEL.POINT_HEAD.IN_FEATURES", [first],
            "MODEL.POINT_HEAD.FC_DIM", 16,
            "MODEL.POINT_HEAD.SUBDIVISION_STEPS", 2,
            "MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS", 49,
        ])  # fmt: skip
    torch.manual_seed(3)
    model = build_model(cfg)
    for name, module in model.named_modules():
        # Fresh ones say one half everywhere: rounding would decide on pixels and on ranks.
        if name.endswith(("cls_score", "predictor")) and hasattr(module, "weight"):
            nn.init.normal_(module.weight, std=0.5)
    return model.eval()


def photos(*sizes: tuple[int, int]) -> list[dict[str, Any]]:
    """Images of random blocks; smooth enough that a detector sees something in them."""
    generator = torch.Generator().manual_seed(5)
    result = []
    for height, width in sizes:
        coarse = torch.rand(1, 3, 6, 8, generator=generator) * 255
        image = nn.functional.interpolate(coarse, size=(height, width)).round().to(torch.uint8)
        result.append({"image": image[0], "height": height, "width": width})
    return result


def plain(model: nn.Module, batch: list[dict[str, Any]]) -> list[Instances]:
    with torch.no_grad():
        return [output["instances"] for output in model(batch)]


def augmented(model: nn.Module, resizes, batch, **options) -> list[Instances]:
    options.setdefault("max_detections", 40)
    outputs = TestTimeAugmentation(model, resizes, **options)(batch)
    return [output["instances"] for output in outputs]


def assert_same(found: Instances, expected: Instances, atol: float = 1e-5) -> None:
    assert len(found) == len(expected) > 0
    assert found.image_size == expected.image_size
    assert set(found.get_fields()) == set(expected.get_fields())
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=atol)
    assert found.pred_classes.tolist() == expected.pred_classes.tolist()
    torch.testing.assert_close(
        found.pred_boxes.tensor, expected.pred_boxes.tensor, rtol=1e-5, atol=10 * atol
    )
    if expected.has("pred_masks"):
        assert found.pred_masks.dtype == expected.pred_masks.dtype
        # a pixel at probability one half may fall to either side
        differing = (found.pred_masks != expected.pred_masks).float().mean()
        assert differing < 1e-3


def test_identity_view_gives_what_the_model_gives(model):
    batch = photos((HEIGHT, WIDTH))
    (expected,) = plain(model, batch)
    # Boxes that the model kept are kept here too: no overlap is above 1.
    (found,) = augmented(
        model, [IDENTITY], batch, mirror=False, nms_thresh=1.0, max_detections=1000
    )
    assert_same(found, expected)


def test_the_same_view_twice_changes_nothing_but_suppression(model):
    batch = photos((HEIGHT, WIDTH))
    (given,) = plain(model, batch)
    # The model's boxes, clipped to the image, may overlap more than when it suppressed them.
    expected = suppressed(given, 0.6)
    (found,) = augmented(model, [IDENTITY, IDENTITY], batch, mirror=False, nms_thresh=0.6)
    assert_same(found, expected[:40])


def suppressed(given: Instances, threshold: float) -> Instances:
    """Greedy suppression, one box at a time."""
    overlap = pairwise_iou(given.pred_boxes, given.pred_boxes)
    kept: list[int] = []
    for i in given.scores.argsort(descending=True).tolist():
        label = given.pred_classes[i]
        if not any(given.pred_classes[k] == label and overlap[k, i] > threshold for k in kept):
            kept.append(i)
    return given[torch.tensor(kept, dtype=torch.long)]


def test_merging_by_hand():
    first = instances(
        (50, 100), [[0, 0, 10, 10], [20, 20, 40, 40], [50, 0, 60, 10]], [0.9, 0.6, 0.3], [0, 1, 0]
    )
    # overlaps: 9 / 11 = 0.82 with the first; 1 with the second; 1 with the second, another class
    second = instances(
        (50, 100), [[1, 0, 11, 10], [20, 20, 40, 40], [20, 20, 40, 40]], [0.8, 0.7, 0.5], [0, 1, 0]
    )
    merged = merge_detections([first, instances((50, 100), [], [], []), second], 0.5, 10)
    assert merged.image_size == (50, 100)
    assert merged.scores.tolist() == pytest.approx([0.9, 0.7, 0.5, 0.3])
    assert merged.pred_classes.tolist() == [0, 1, 0, 0]
    assert merged.pred_boxes.tensor.tolist() == [
        [0, 0, 10, 10], [20, 20, 40, 40], [20, 20, 40, 40], [50, 0, 60, 10]
    ]  # fmt: skip
    assert merge_detections([first, second], 0.5, 2).scores.tolist() == pytest.approx([0.9, 0.7])
    assert len(merge_detections([first, second], 0.82, 10)) == 5


class BrightestBox(nn.Module):
    """Finds the rectangle of bright pixels, in the image it is shown, if there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[list[tuple[int, ...]]] = []

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        self.shown.append([tuple(x["image"].shape[1:]) for x in batch])
        return [{"instances": self.find(**x)} for x in batch]

    @staticmethod
    def find(image: torch.Tensor, height: int, width: int) -> Instances:
        y, x = torch.nonzero(image[0] > 127, as_tuple=True)
        if not len(x):
            return instances((height, width), [], [], [])
        edges = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()
        scale = torch.tensor([width / image.shape[2], height / image.shape[1]] * 2)
        score = 0.5 + image.shape[2] / 10000  # the largest view wins
        return instances((height, width), [(edges * scale).tolist()], [score], [2])


def scene(height: int, width: int, box: tuple[int, int, int, int] | None) -> dict[str, Any]:
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    if box is not None:
        image[:, box[1] : box[3], box[0] : box[2]] = 255
    return {"image": image, "height": height, "width": width}


def test_boxes_of_all_views_lie_where_the_object_is():
    box = (10, 20, 50, 80)
    resizes = [T.ResizeShortestEdge(s, 1000) for s in (60, 100, 200)]
    # Suppression at 1 keeps the boxes of all views
    (found,) = augmented(BrightestBox(), resizes, [scene(100, 160, box)], nms_thresh=1.0)
    assert len(found) >= 5  # equal boxes of a view and its mirror image may overlap by exactly 1
    distance = (found.pred_boxes.tensor - torch.tensor(box)).abs()
    assert distance.max() <= 100 / 60  # a pixel of the smallest view
    (one,) = augmented(BrightestBox(), resizes, [scene(100, 160, box)], nms_thresh=0.5)
    assert len(one) == 1
    assert one.pred_classes.tolist() == [2]
    assert one.scores.item() == pytest.approx(0.5 + 320 / 10000)


def test_nothing_in_a_view_or_an_image_and_images_of_several_sizes():
    thin = (30, 30, 31, 31)  # vanishes where the image is made smaller
    batch = [
        scene(100, 160, thin),
        scene(100, 160, None),
        scene(64, 48, (5, 6, 40, 30)),
    ]
    resizes = [T.ResizeShortestEdge(s, 1000) for s in (20, 200)]
    small, none, other = augmented(BrightestBox(), resizes, batch)
    assert [len(small), len(none), len(other)] == [1, 0, 1]
    assert none.image_size == (100, 160)
    assert none.pred_boxes.tensor.shape == (0, 4)
    torch.testing.assert_close(
        other.pred_boxes.tensor, torch.tensor([[5.0, 6, 40, 30]]), rtol=0, atol=0.5
    )


@pytest.mark.parametrize(("limit", "batches"), [(1, 6), (3, 3), (8, 2)])
def test_views_of_one_size_go_together_up_to_the_limit(limit: int, batches: int):
    model = BrightestBox()
    batch = [scene(100, 160, None), scene(50, 80, None), scene(90, 60, None)]
    augmented(model, [T.ResizeShortestEdge(50, 500)], batch, views_per_batch=limit)
    assert len(model.shown) == batches
    assert all(len(shown) <= limit and len(set(shown)) == 1 for shown in model.shown)
    assert sum(len(shown) for shown in model.shown) == 6


def test_output_size_is_that_asked_for_whatever_the_image_was_resized_to():
    given = scene(100, 160, (10, 20, 50, 80))
    given.update(height=200, width=480)
    (found,) = augmented(BrightestBox(), [T.ResizeShortestEdge(100, 500)], [given])
    assert found.image_size == (200, 480)
    assert found.pred_boxes.tensor.tolist() == [[30, 40, 150, 160]]
    del given["height"], given["width"]
    (found,) = augmented(BrightestBox(), [T.ResizeShortestEdge(50, 500)], [given])
    assert found.image_size == (100, 160)
    assert augmented(BrightestBox(), [IDENTITY], []) == []


def test_result_of_the_mirrored_image_is_the_mirrored_result(model):
    (photo,) = photos((HEIGHT, WIDTH))
    mirrored = {**photo, "image": photo["image"].flip(-1)}
    (found,) = augmented(model, [IDENTITY], [photo])
    (expected,) = augmented(model, [IDENTITY], [mirrored])
    boxes = expected.pred_boxes.tensor
    boxes[:, [0, 2]] = WIDTH - boxes[:, [2, 0]]
    if expected.has("pred_masks"):
        expected.pred_masks = expected.pred_masks.flip(-1)
    assert_same(found, expected)


def reference(model: nn.Module, sample: dict[str, Any], sizes: list[int], threshold: float):
    """One view at a time, one box at a time; boxes, scores, classes and mask probabilities."""
    height, width = sample["height"], sample["width"]
    pixels = sample["image"].permute(1, 2, 0).numpy()
    views = []
    for size in sizes:
        scale = size / min(height, width)
        new = (int(width * scale + 0.5), int(height * scale + 0.5))
        resized = np.asarray(Image.fromarray(pixels).resize(new, Image.Resampling.BILINEAR))
        for mirrored in (False, True):
            shown = resized[:, ::-1] if mirrored else resized
            tensor = torch.from_numpy(np.ascontiguousarray(shown.transpose(2, 0, 1)))
            views.append((tensor, new, mirrored))
    candidates = []
    for tensor, (new_w, new_h), mirrored in views:
        (found,) = plain(model, [{"image": tensor}])
        for box, score, label in zip(
            found.pred_boxes.tensor.tolist(), found.scores.tolist(), found.pred_classes.tolist()
        ):
            x0, y0, x1, y1 = box
            if mirrored:
                x0, x1 = new_w - x1, new_w - x0
            x0, x1 = x0 * width / new_w, x1 * width / new_w
            y0, y1 = y0 * height / new_h, y1 * height / new_h
            candidates.append((score, label, (x0, y0, x1, y1)))
    kept: list[Any] = []
    for score, label, box in sorted(candidates, key=lambda c: -c[0]):
        if not any(label == k[1] and iou(box, k[2]) > threshold for k in kept):
            kept.append((score, label, box))
    kept = kept[:40]
    masks = []
    for score, label, box in (
        kept if hasattr(getattr(model, "roi_heads", None), "mask_head") else []
    ):
        total: Any = 0
        for tensor, (new_w, new_h), mirrored in views:
            x0, x1 = box[0] * new_w / width, box[2] * new_w / width
            y0, y1 = box[1] * new_h / height, box[3] * new_h / height
            if mirrored:
                x0, x1 = new_w - x1, new_w - x0
            there = instances((new_h, new_w), [[x0, y0, x1, y1]], [score], [label])
            with torch.no_grad():
                (out,) = model.inference([{"image": tensor}], [there], do_postprocess=False)
            mask = out.pred_masks[0, 0].numpy()
            total = total + (mask[:, ::-1] if mirrored else mask)
        masks.append(total / len(views))
    return kept, masks


def iou(a, b) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0) * max(h, 0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return inter / (area - inter)


@pytest.mark.parametrize("kind", ["one-stage", "two-stage", "masks", "PointRend"])
def test_batches_equal_one_view_at_a_time(kind: str, load_config):
    model = make_model(kind, load_config)
    batch = photos((64, 96), (64, 96), (90, 61))
    sizes, threshold = [64, 80], 0.5
    resizes = [T.ResizeShortestEdge(size, 1000) for size in sizes]
    found = augmented(model, resizes, batch, nms_thresh=threshold, views_per_batch=3)
    for sample, result in zip(batch, found):
        kept, masks = reference(model, sample, sizes, threshold)
        assert len(kept) == len(result) > 5
        scores, classes, boxes = (torch.tensor(part) for part in zip(*kept))
        torch.testing.assert_close(result.scores, scores, rtol=0, atol=1e-5)
        assert result.pred_classes.tolist() == classes.tolist()
        torch.testing.assert_close(result.pred_boxes.tensor, boxes, rtol=1e-5, atol=1e-3)
        assert result.has("pred_masks") == bool(masks)
        if masks:
            pasted = paste_masks_in_image(
                torch.from_numpy(np.stack(masks)), boxes, (sample["height"], sample["width"])
            )
            assert (pasted != result.pred_masks).float().mean() < 1e-3
            assert 0 < pasted.float().mean() < 1


def test_images_without_detections_have_empty_masks(mask_model):
    batch = photos((64, 96), (90, 61))
    heads = mask_model.roi_heads
    best = [float(f.scores.max()) for f in augmented(mask_model, [IDENTITY], batch)]
    assert best[0] != best[1]
    for predictor in heads.box_predictor:
        predictor.test_score_thresh = sum(best) / 2
    found = augmented(mask_model, [IDENTITY], batch)
    assert sorted(len(f) > 0 for f in found) == [False, True]
    for sample, result in zip(batch, found):
        assert result.pred_masks.shape == (len(result), sample["height"], sample["width"])
        assert result.pred_masks.dtype == torch.bool
    for predictor in heads.box_predictor:
        predictor.test_score_thresh = 1.1
    for given, result in zip(plain(mask_model, batch), augmented(mask_model, [IDENTITY], batch)):
        assert len(result) == 0
        assert result.pred_masks.shape == given.pred_masks.shape


def test_masks_are_off_while_boxes_are_found_and_on_afterwards(mask_model, monkeypatch):
    calls = []
    head = mask_model.roi_heads.mask_head
    forward = head.forward
    monkeypatch.setattr(head, "forward", lambda *args: calls.append(1) or forward(*args))
    augmented(mask_model, [IDENTITY], photos((HEIGHT, WIDTH)), views_per_batch=1)
    assert len(calls) == 2  # the image and its mirror image, once each
    broken = photos((HEIGHT, WIDTH))
    broken[0]["image"] = broken[0]["image"][:2]
    with pytest.raises(RuntimeError):
        augmented(mask_model, [IDENTITY], broken)
    assert mask_model.roi_heads.mask_on


def test_mode_of_the_model_is_kept():
    assert not TestTimeAugmentation(BrightestBox().eval(), [IDENTITY]).training
    model = BrightestBox().train()
    wrapper = TestTimeAugmentation(model, [IDENTITY])
    assert wrapper.training
    assert not wrapper.eval().model.training
