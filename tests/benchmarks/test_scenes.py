from __future__ import annotations

import torch

from centernet2.benchmarks.scenes import random_batch, random_boxes


def test_boxes_lie_inside_and_most_are_small() -> None:
    boxes = random_boxes(4000, (800, 1216), torch.Generator().manual_seed(0))
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= 1216 and boxes[:, 3].max() <= 800
    sides = boxes[:, 2:] - boxes[:, :2]
    # P(5 + 500 u^3 < s) = cbrt((s - 5) / 500)
    for side in (10.0, 67.5, 219.0):
        expected = ((side - 5) / 500) ** (1 / 3)
        assert abs(float((sides < side).float().mean()) - expected) < 0.02


def test_boxes_of_small_images_fit() -> None:
    boxes = random_boxes(200, (32, 48), torch.Generator().manual_seed(0))
    assert boxes.min() >= 0
    assert boxes[:, 3].max() <= 32 and boxes[:, 2].max() <= 48


def test_a_batch_is_what_a_loader_gives() -> None:
    batch = random_batch(2, (64, 96), 5, num_classes=3, seed=1)
    again = random_batch(2, (64, 96), 5, num_classes=3, seed=1)
    assert len(batch) == 2
    for item, same in zip(batch, again):
        assert item["image"].shape == (3, 64, 96) and item["image"].dtype == torch.uint8
        assert torch.equal(item["image"], same["image"])
        instances = item["instances"]
        assert len(instances) == 5 and instances.gt_classes.max() < 3
        masks = instances.gt_masks.get_bounding_boxes().tensor
        torch.testing.assert_close(masks, instances.gt_boxes.tensor, atol=1e-3, rtol=0)
