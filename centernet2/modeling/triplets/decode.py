"""From maps to candidates: pairs of corners that may span a box, and centres of objects."""

from __future__ import annotations

from typing import NamedTuple

import torch

from ..peaks import best_peaks, values_at
from .maps import TripletMaps

__all__ = ["Candidates", "Points", "decode"]


class Points(NamedTuple):
    """Keypoints of one kind of B images, best first.

    Attributes:
        points: ``(B, K, 2)`` float32 of x, y in cells.
        scores: ``(B, K)``.
        classes: ``(B, K)`` int64.
    """

    points: torch.Tensor
    scores: torch.Tensor
    classes: torch.Tensor


class Candidates(NamedTuple):
    """Pairs of corners of B images, best first.

    Attributes:
        boxes: ``(B, D, 4)`` float32 XYXY in cells.
        scores: ``(B, D)``, mean of the corners' scores; -1 marks a pair that is none.
        tl_scores, br_scores: ``(B, D)`` scores of the corners.
        classes: ``(B, D)`` int64.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    tl_scores: torch.Tensor
    br_scores: torch.Tensor
    classes: torch.Tensor


@torch.no_grad()
def decode(
    maps: TripletMaps, top_k: int, tag_threshold: float = 0.5, max_pairs: int = 1000
) -> tuple[Candidates, Points | None]:
    """Pair every corner with every other.

    A pair holds if its classes are equal, its tags differ by at most ``tag_threshold`` and the
    second corner is neither left of nor above the first.

    Args:
        maps: what the last stack says of B images.
        top_k: corners of each kind, and centres, that an image has at most, over all classes.
        tag_threshold: see above.
        max_pairs: pairs kept an image, invalid ones among them where there are too few.

    Returns:
        The pairs, and the centres where the maps have any.
    """
    tl, tl_cell = _best_points(maps.tl_heat, maps.tl_offset, top_k)
    br, br_cell = _best_points(maps.br_heat, maps.br_offset, top_k)
    tl_tag = maps.tl_tag.float().flatten(1).gather(1, tl_cell)
    br_tag = maps.br_tag.float().flatten(1).gather(1, br_cell)

    # (B, K, K): top-left corners down, bottom-right ones across
    valid = (
        (tl.classes[:, :, None] == br.classes[:, None])
        & ((tl_tag[:, :, None] - br_tag[:, None]).abs() <= tag_threshold)
        & (br.points[:, None] >= tl.points[:, :, None]).all(dim=3)
    )
    scores = torch.where(valid, (tl.scores[:, :, None] + br.scores[:, None]) / 2, -1.0).flatten(1)
    scores, pair = scores.topk(min(max_pairs, scores.shape[1]), dim=1)
    across = br.scores.shape[1]
    first = torch.div(pair, across, rounding_mode="floor")
    second = pair - first * across
    candidates = Candidates(
        boxes=torch.cat([_take(tl.points, first), _take(br.points, second)], dim=2),
        scores=scores,
        tl_scores=tl.scores.gather(1, first),
        br_scores=br.scores.gather(1, second),
        classes=tl.classes.gather(1, first),
    )
    if maps.ct_heat is None or maps.ct_offset is None:
        return candidates, None
    return candidates, _best_points(maps.ct_heat, maps.ct_offset, top_k)[0]


def _best_points(
    logits: torch.Tensor, offset: torch.Tensor, top_k: int
) -> tuple[Points, torch.Tensor]:
    """The best peaks over all classes and cells of each image, and their cells ``(B, K)``."""
    scores, classes, cell = best_peaks(logits.float().sigmoid(), top_k)
    width = logits.shape[3]
    row = torch.div(cell, width, rounding_mode="floor")
    corner = torch.stack([cell - row * width, row], dim=2)
    points = corner + values_at(offset, cell)
    return Points(points, scores, classes), cell


def _take(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Rows of ``(B, M, C)`` by ``(B, K)`` indices: ``(B, K, C)``."""
    return values.gather(1, index[:, :, None].expand(-1, -1, values.shape[2]))
