from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.data.datasets import load_coco_json
from detectron2.structures import BoxMode
from PIL import Image

from centernet2.data.augmentation import build_augmentation
from centernet2.data.datasets.custom import register_custom
from centernet2.data.keypoint_augmentation import (
    ColorJitter,
    ColorJitterTransform,
    KeypointCrop,
    Lighting,
    PixelFlip,
    PixelFlipTransform,
)
from centernet2.data.keypoint_mapper import KeypointMapper, training_mapper
from centernet2.data.mapper import DetectionMapper
from centernet2.engine import build_cfg
from centernet2.engine.data_loader import build_train_loader
from centernet2.errors import UserError

CROP = ("INPUT.CUSTOM_AUG", "KeypointCrop", "INPUT.TRAIN_SIZE", "127", "INPUT.CROP_BORDER", "32")
PUBLISHED = (
    *CROP,
    "INPUT.COLOR_JITTER",
    "0.4",
    "INPUT.LIGHTING",
    "0.1",
    "INPUT.KEEP_CROWDS",
    "True",
)


def config(*overrides: object) -> Any:
    return build_cfg(overrides=[str(part) for part in overrides])


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    """An image of 90 x 140 with objects on a grid and a crowd with a run-length mask."""
    file = tmp_path / "image.png"
    pixels = np.random.default_rng(0).integers(0, 256, (90, 140, 3), dtype=np.uint8)
    Image.fromarray(cv2.GaussianBlur(pixels, (0, 0), 3)).save(file)
    annotations = [
        {"bbox": [x, y, 21.5, 17], "bbox_mode": BoxMode.XYWH_ABS, "category_id": i, "iscrowd": 0}
        for i, (x, y) in enumerate((x, y) for x in range(0, 120, 30) for y in range(0, 70, 25))
    ]
    mask = {"size": [90, 140], "counts": b"somewhere"}
    crowd = {"bbox": [5, 10, 120, 60], "category_id": 70, "iscrowd": 1, "segmentation": mask}
    annotations.append({**annotations[0], **crowd})
    return {
        "file_name": str(file), "height": 90, "width": 140, "image_id": 1,
        "annotations": annotations,
    }  # fmt: skip


def plain_boxes(
    record: dict[str, Any], transforms: list[T.Transform], crowds: bool
) -> dict[int, list[float]]:
    """Boxes by class, moved step by step as described: shift, scale, clip, drop, flip."""
    out = {}
    for annotation in record["annotations"]:
        if annotation["iscrowd"] and not crowds:
            continue
        x, y, w, h = annotation["bbox"]
        box = [x, y, x + w, y + h]
        crop = transforms[0]
        for axis, first in ((0, crop.left), (1, crop.top)):
            for side in (axis, axis + 2):
                box[side] = min(max((box[side] - first) * 127 / crop.side, 0), 126)
        if box[2] <= box[0] or box[3] <= box[1]:
            continue
        if any(isinstance(t, PixelFlipTransform) for t in transforms):
            box[0], box[2] = 127 - box[2] - 1, 127 - box[0] - 1
        out[annotation["category_id"]] = box
    return out


@pytest.mark.parametrize("crowds", [True, False])
def test_boxes_are_those_of_the_description(
    record: dict[str, Any], crowds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[T.Transform] = []

    def keeping(original: Any) -> Any:
        def get_transform(self: Any, image: Any) -> T.Transform:
            drawn.append(original(self, image))
            return drawn[-1]

        return get_transform

    for kind in (KeypointCrop, PixelFlip):
        monkeypatch.setattr(kind, "get_transform", keeping(kind.get_transform))
    mapper = training_mapper(config(*CROP, "INPUT.KEEP_CROWDS", crowds))
    np.random.seed(4)  # noqa: NPY002
    seen_crowd = seen_flip = dropped = 0
    for _ in range(25):
        drawn.clear()
        sample = mapper(record)
        assert sample["image"].shape == (3, 127, 127)
        found = sample["instances"]
        expected = plain_boxes(record, drawn, crowds)
        assert sorted(found.gt_classes.tolist()) == sorted(expected)
        for box, label in zip(found.gt_boxes.tensor, found.gt_classes.tolist()):
            np.testing.assert_allclose(box, expected[label], atol=1e-4)
        assert found.gt_boxes.tensor.numel() == 0 or float(found.gt_boxes.tensor.max()) <= 126
        seen_crowd += 70 in expected
        seen_flip += isinstance(drawn[-1], PixelFlipTransform)
        dropped += len(expected) < len(record["annotations"]) - (not crowds)
    assert (seen_crowd > 0) is crowds
    assert 0 < seen_flip < 25
    assert dropped > 0
    assert record["annotations"][-1]["iscrowd"] == 1  # the record itself is left as it was


def test_pixels_are_floats_with_the_published_colors(record: dict[str, Any]) -> None:
    """The drawn steps in their order, applied by hand to the file's pixels."""
    cfg = config(*PUBLISHED)
    np.random.seed(1)  # noqa: NPY002
    found = training_mapper(cfg)(record)["image"]
    assert found.dtype == torch.float32

    np.random.seed(1)  # noqa: NPY002
    image = cv2.imread(record["file_name"])  # BGR
    kinds = []
    for augmentation in build_augmentation(cfg, is_train=True):
        kinds.append(type(augmentation))
        image = augmentation.get_transform(image).apply_image(image)
    assert kinds == [KeypointCrop, PixelFlip, ColorJitter, Lighting]
    np.testing.assert_allclose(found.permute(1, 2, 0), image, atol=1e-3)


def test_images_without_objects_have_none(record: dict[str, Any]) -> None:
    sample = training_mapper(config(*PUBLISHED))({**record, "annotations": []})
    assert len(sample["instances"]) == 0
    assert sample["instances"].gt_boxes.tensor.shape == (0, 4)
    assert sample["image"].shape == (3, 127, 127)


def test_crowds_can_be_kept_with_any_augmentation(record: dict[str, Any]) -> None:
    cfg = config("INPUT.KEEP_CROWDS", True, "INPUT.MIN_SIZE_TRAIN", "(90,)")
    mapper = training_mapper(cfg)
    assert isinstance(mapper, KeypointMapper)
    found = mapper(record)["instances"]
    assert 70 in found.gt_classes.tolist()
    # Boxes reach the image's edge there
    edge = {**record, "annotations": [{**record["annotations"][0], "bbox": [0, 0, 140, 90]}]}
    (box,) = mapper(edge)["instances"].gt_boxes.tensor.tolist()
    assert box == [0, 0, 140, 90]


def test_without_these_keys_it_is_the_usual_mapper() -> None:
    assert type(training_mapper(config())) is DetectionMapper


def patch(image: np.ndarray, box: list[float]) -> np.ndarray:
    x0, y0, x1, y1 = (round(side) for side in box)
    small = cv2.resize(image[y0:y1, x0:x1], (10, 10), interpolation=cv2.INTER_AREA)
    return (small - small.mean()).ravel() / (small.std() + 1e-6)


def test_real_objects_are_where_their_boxes_went(shared_data: Path) -> None:
    """Cut-outs of cells before and after look alike, and unlike those of another place."""
    folder = shared_data / "bccd"
    records = load_coco_json(str(folder / "val.json"), str(folder / "images"))
    cfg = config(*PUBLISHED, "INPUT.TRAIN_SIZE", "511", "INPUT.RANDOM_FLIP", "none")
    mapper = training_mapper(cfg)
    np.random.seed(0)  # noqa: NPY002
    alike = []
    for record in records[:12]:
        before = cv2.imread(record["file_name"]).astype(np.float32)
        for number, annotation in enumerate(record["annotations"]):
            annotation["category_id"] = number
        sample = mapper(record)
        after = np.ascontiguousarray(sample["image"].permute(1, 2, 0).numpy())
        for box, n in zip(
            sample["instances"].gt_boxes.tensor.tolist(), sample["instances"].gt_classes.tolist()
        ):
            x, y, w, h = record["annotations"][n]["bbox"]
            inside = min(box) > 1 and max(box) < 509 and min(box[2] - box[0], box[3] - box[1]) > 15
            if inside and x > 0 and y > 0:
                pair = patch(before, [x, y, x + w, y + h]), patch(after, box)
                alike.append(float((pair[0] * pair[1]).mean()))
    assert len(alike) > 15
    assert np.mean(alike) > 0.9


def test_the_training_loader_takes_it(shared_data: Path) -> None:
    folder = shared_data / "bccd"
    cfg = config(
        *PUBLISHED, "DATASETS.CUSTOM.TRAIN_JSON", folder / "val.json",
        "DATASETS.CUSTOM.TRAIN_IMAGES", folder / "images", "DATASETS.TRAIN", "('custom_train',)",
        "DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 2,
    )  # fmt: skip
    register_custom(cfg)
    loader = build_train_loader(cfg)
    batch = next(iter(loader))
    assert [sample["image"].shape for sample in batch] == [(3, 127, 127)] * 2
    assert all(sample["image"].dtype == torch.float32 for sample in batch)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["INPUT.CROP_SCALES", "(1.3, 0.6, 0.1)"], r"CROP_SCALES is \(1.3, 0.6, 0.1\); it must"),
        (["INPUT.CROP_SCALES", "(0.6, 1.3, 0.0)"], "the step between them, all above 0"),
        (["INPUT.CROP_SCALES", "(0.6, 1.3)"], "CROP_SCALES"),
        (["INPUT.CROP_BORDER", "-1"], "CROP_BORDER is -1; it must be 0 or more"),
        (["INPUT.TRAIN_SIZE", "0"], "TRAIN_SIZE is 0; it must be at least 1 pixel"),
        (["INPUT.RANDOM_FLIP", "vertical"], "RANDOM_FLIP is 'vertical'; choose one of"),
        (["INPUT.CROP.ENABLED", "True"], "KeypointCrop crops by itself: set INPUT.CROP.ENABLED"),
        (["INPUT.COLOR_JITTER", "-0.1"], r"COLOR_JITTER is -0.1; it must be 0 \(off\) or more"),
        (["INPUT.LIGHTING", "0.1", "INPUT.FORMAT", "L"], "LIGHTING needs INPUT.FORMAT BGR or RGB"),
        (["INPUT.KEEP_CROWDS", "True", "MODEL.MASK_ON", "True"], "needs MODEL.MASK_ON False"),
    ],
)
def test_mistakes_are_told(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        training_mapper(config(*CROP, *overrides))


def test_colors_join_any_other_augmentation(record: dict[str, Any]) -> None:
    cfg = config("INPUT.COLOR_JITTER", "0.4", "INPUT.FORMAT", "RGB")
    *_, jitter = build_augmentation(cfg, is_train=True)
    assert isinstance(jitter, ColorJitter)
    transform = jitter.get_transform(np.zeros((2, 2, 3), dtype=np.uint8))
    assert isinstance(transform, ColorJitterTransform)
    np.testing.assert_array_equal(
        transform.gray_weights, np.array([0.299, 0.587, 0.114], dtype=np.float32)
    )
    assert not any(isinstance(a, ColorJitter) for a in build_augmentation(cfg, is_train=False))
    assert training_mapper(cfg)(record)["image"].dtype == torch.float32


def test_windows_outside_are_black_in_the_input(record: dict[str, Any]) -> None:
    """Without colours: black is 0, which the model then normalises like any pixel."""
    mapper = training_mapper(config(*CROP, "INPUT.CROP_SCALES", "(1.3, 1.3, 0.1)"))
    np.random.seed(0)  # noqa: NPY002
    image = mapper(record)["image"]
    assert image.dtype == torch.uint8
    # 165 rows of window, of which the image's 90 are at most 69 rows of 127
    assert int((image == 0).all(dim=2).all(dim=0).sum()) >= 127 - 71
