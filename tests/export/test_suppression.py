from __future__ import annotations

import pytest
import torch
from torchvision.ops import nms

from centernet2.export.suppression import best_boxes


def _one_class_after_the_other(
    boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, iou: float
) -> list[int]:
    kept: list[int] = []
    for label in labels.unique():
        mine = (labels == label).nonzero()[:, 0]
        kept += mine[nms(boxes[mine], scores[mine], iou)].tolist()
    return sorted(kept, key=lambda i: -float(scores[i]))


@pytest.mark.parametrize("num_classes", [1, 2, 80, 1203])
def test_classes_are_kept_apart(num_classes: int) -> None:
    corner = torch.rand(400, 2) * 300 - 80
    boxes = torch.cat([corner, corner + torch.rand(400, 2) * 200 + 20], dim=1)
    scores = torch.rand(400)
    labels = torch.randint(0, num_classes, (400,)) // 3 * 3  # so that some share one
    labels[:100] = num_classes - 1
    expected = _one_class_after_the_other(boxes, scores, labels, 0.4)
    assert 10 < len(expected) < 400
    assert best_boxes(boxes, scores, labels, num_classes, 0.4, -1).tolist() == expected
    assert best_boxes(boxes, scores, labels, num_classes, 0.4, 7).tolist() == expected[:7]


def test_no_boxes() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert best_boxes(torch.zeros(0, 4), torch.zeros(0), none, 80, 0.5, 10).shape == (0,)
