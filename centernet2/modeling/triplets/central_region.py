"""The test that gives CenterNet its name: a box needs a centre of its class in its middle."""

from __future__ import annotations

import torch

from .decode import Candidates, Points

__all__ = ["central_regions", "confirm_by_centers", "matching_center_scores"]

# Boxes of at most this area, in pixels of the image, have the larger region
SMALL_AREA = 150.0**2


def central_regions(boxes: torch.Tensor, small_area: float = SMALL_AREA) -> torch.Tensor:
    """The middle third (n = 3) of each small box, the middle fifth (n = 5) of the others.

    Args:
        boxes: ``(..., 4)`` XYXY in pixels of the image.
        small_area: largest area of a small box.

    Returns:
        ``(..., 4)`` XYXY.
    """
    low, high = boxes.split(2, dim=-1)
    small = (high - low).prod(dim=-1, keepdim=True) <= small_area
    n = torch.where(small, 3.0, 5.0).to(boxes.dtype)
    first = ((n + 1) * low + (n - 1) * high) / (2 * n)
    last = ((n - 1) * low + (n + 1) * high) / (2 * n)
    return torch.cat([first, last], dim=-1)


def matching_center_scores(
    boxes: torch.Tensor, classes: torch.Tensor, centers: Points, best: bool = False
) -> torch.Tensor:
    """Scores of the centres that confirm boxes.

    Args:
        boxes: ``(..., N, 4)`` XYXY in pixels of the image.
        classes: ``(..., N)``.
        centers: ``(..., M)`` centres.
        best: take the centre of the highest score, instead of the first in the list (published).

    Returns:
        ``(..., N)``; -1 where no centre of the box's class lies strictly inside its region.
    """
    region = central_regions(boxes)[..., :, None, :]
    points = centers.points[..., None, :, :]
    inside = ((points > region[..., :2]) & (points < region[..., 2:])).all(dim=-1)
    match = inside & (classes[..., :, None] == centers.classes[..., None, :])
    scores = centers.scores[..., None, :].expand(match.shape)
    # A last column says "none", also where there are no centres at all
    none = scores.new_full((*match.shape[:-1], 1), -1.0)
    if best:
        return torch.cat([torch.where(match, scores, -1.0), none], dim=-1).amax(dim=-1)
    number = torch.arange(match.shape[-1], device=match.device)
    last = none.long() + 1 + match.shape[-1]
    first = torch.cat([torch.where(match, number, match.shape[-1]), last], dim=-1)
    return torch.cat([scores, none], dim=-1).gather(-1, first.amin(dim=-1, keepdim=True))[..., 0]


def confirm_by_centers(candidates: Candidates, centers: Points, best: bool = False) -> Candidates:
    """Keep the boxes that a centre confirms, best first.

    The score becomes the mean of those of the three keypoints.

    Args:
        candidates: ``(N,)`` of one image, in its pixels, clipped to it.
        centers: ``(M,)`` in its pixels.
        best: see :func:`matching_center_scores`.
    """
    center_scores = matching_center_scores(candidates.boxes, candidates.classes, centers, best)
    scores = (2 * candidates.scores + center_scores) / 3
    keep = ((candidates.scores >= 0) & (center_scores >= 0)).nonzero()[:, 0]
    keep = keep[scores[keep].argsort(descending=True, stable=True)]
    return Candidates(*(part[keep] for part in candidates._replace(scores=scores)))
