"""From the maps to boxes."""

from __future__ import annotations

import torch

from ..peaks import best_peaks, values_at

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
    found, classes, cell = best_peaks(scores, top_k)
    width = scores.shape[3]
    y = torch.div(cell, width, rounding_mode="floor")
    point = torch.stack([cell - y * width, y], dim=2) * stride
    sides = values_at(distances, cell)
    return torch.cat([point - sides[..., :2], point + sides[..., 2:]], dim=2), found, classes
