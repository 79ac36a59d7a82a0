"""From cells of the network's maps to pixels of the image that it was shown."""

from __future__ import annotations

import torch

from .decode import Candidates, Points
from .views import View

__all__ = ["to_image"]


def to_image(
    candidates: Candidates,
    centers: Points | None,
    view: View,
    output_size: tuple[int, int],
    border: float | None = None,
) -> tuple[Candidates, Points | None]:
    """Bring what was found in a view, and in its mirror image, to the image's own pixels.

    Args:
        candidates: pairs of corners of the view, and of its mirror image if that was looked at:
            ``(1 or 2, D)``, in cells.
        centers: centres of the same, ``(1 or 2, K)``.
        view: how the image was shown.
        output_size: (height, width) of the network's maps.
        border: candidates that stick out of the resized image by this many of its pixels are
            invalid; None for no such test.

    Returns:
        ``(1 or 2) * D`` candidates and ``(1 or 2) * K`` centres in pixels of the image, those of
        the mirror image last. Boxes are clipped to the image, centres are not (as published);
        invalid candidates stay, of score -1.
    """
    width = output_size[1]
    boxes = candidates.boxes.clone()
    boxes[1:, :, 0::2] = width - candidates.boxes[1:, :, 0::2].flip(2)
    corners = _to_resized(boxes.view(-1, 2, 2), view, output_size)
    limit = corners.new_tensor([view.size[1], view.size[0]])
    flat = Candidates(*(part.flatten(0, 1) for part in candidates))
    scores = flat.scores
    if border is not None:
        outside = (corners[:, 0] <= -border) | (corners[:, 1] >= limit + border)
        scores = torch.where(outside.any(dim=1), -1.0, scores)
    corners = corners.clamp(min=0).minimum(limit) / view.scale
    flat = flat._replace(boxes=corners.flatten(1), scores=scores)
    if centers is None:
        return flat, None
    points = centers.points.clone()
    points[1:, :, 0] = width - points[1:, :, 0]
    points = _to_resized(points.flatten(0, 1), view, output_size) / view.scale
    return flat, Points(points, centers.scores.flatten(), centers.classes.flatten())


def _to_resized(points: torch.Tensor, view: View, output_size: tuple[int, int]) -> torch.Tensor:
    """``(..., 2)`` points x, y in cells to pixels of the resized image."""
    height, width = view.pixels.shape[-2:]
    cells = points.new_tensor([output_size[1] / width, output_size[0] / height])  # a pixel: not 1/4
    return points / cells - points.new_tensor([view.left, view.top])
