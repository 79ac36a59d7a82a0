"""From the maps to boxes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

__all__ = ["decode"]


def decode(
    scores: torch.Tensor, distances: torch.Tensor, top_k: int, stride: int = 4
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The best peaks of each image's heatmaps, over all classes; no suppression of boxes.

    A peak is a cell that no neighbour in its 3x3 window exceeds. Its place is the cell's first
    corner, ``stride * (x, y)``.

    Args:
        scores: ``(B, C, h, w)``.
        distances: ``(B, 4, h, w)`` to the left, top, right and bottom side, in pixels.
        top_k: most peaks of an image.
        stride: pixels between cells.

    Returns:
        Boxes ``(B, K, 4)`` XYXY in pixels, not clipped; scores ``(B, K)``, best first; classes
        ``(B, K)`` int64.
    """
    height, width = scores.shape[-2:]
    peaks = scores * (F.max_pool2d(scores, 3, stride=1, padding=1) == scores)
    found, index = peaks.flatten(1).topk(min(top_k, peaks[0].numel()), dim=1)
    classes = torch.div(index, height * width, rounding_mode="floor")
    cell = index - classes * (height * width)
    y = torch.div(cell, width, rounding_mode="floor")
    point = torch.stack([cell - y * width, y], dim=2) * stride
    sides = distances.flatten(2).gather(2, cell[:, None].expand(-1, 4, -1)).transpose(1, 2)
    boxes = torch.cat([point - sides[..., :2], point + sides[..., 2:]], dim=2)
    return boxes, found, classes
