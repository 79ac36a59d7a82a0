"""Peaks and boxes against loops over all cells."""

from __future__ import annotations

import torch

from centernet2.modeling.mobile_centernet.decode import decode


def reference(scores: torch.Tensor, distances: torch.Tensor) -> list[tuple[float, ...]]:
    """All peaks of one image, best first: score, class, x1, y1, x2, y2."""
    found = []
    classes, height, width = scores.shape
    for c in range(classes):
        for y in range(height):
            for x in range(width):
                window = scores[c, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
                if scores[c, y, x] == window.max():
                    left, top, right, bottom = distances[:, y, x].tolist()
                    box = (4 * x - left, 4 * y - top, 4 * x + right, 4 * y + bottom)
                    found.append((float(scores[c, y, x]), c, *box))
    return sorted(found, reverse=True)


def test_best_peaks_of_all_classes() -> None:
    scores, distances = torch.rand(2, 3, 7, 9), torch.randn(2, 4, 7, 9) * 16
    boxes, found, classes = decode(scores, distances, top_k=12)
    assert boxes.shape == (2, 12, 4)
    assert found.shape == classes.shape == (2, 12)
    for image in range(2):
        expected = torch.tensor(reference(scores[image], distances[image])[:12])
        torch.testing.assert_close(found[image], expected[:, 0])
        assert classes[image].tolist() == expected[:, 1].tolist()
        torch.testing.assert_close(boxes[image], expected[:, 2:])


def test_equal_neighbours_are_both_peaks() -> None:
    scores = torch.zeros(1, 1, 4, 4)
    scores[0, 0, 1, 1:3] = 0.5
    boxes, found, _ = decode(scores, torch.ones(1, 4, 4, 4), top_k=2)
    assert found.tolist() == [[0.5, 0.5]]
    assert sorted(boxes[0].tolist()) == [[3, 3, 5, 5], [7, 3, 9, 5]]


def test_no_more_than_there_are_cells() -> None:
    _, found, _ = decode(torch.rand(1, 2, 2, 3), torch.rand(1, 4, 2, 3), top_k=100)
    assert found.shape == (1, 12)
