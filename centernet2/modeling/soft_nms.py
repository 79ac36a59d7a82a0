"""Soft-NMS in place, row by row as published, with the work within a row vectorised."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SoftNMSSettings", "soft_nms"]

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class SoftNMSSettings:
    """How overlapping boxes lose score.

    Attributes:
        method: "gaussian": score * exp(-iou^2 / sigma); "linear": score * (1 - iou) above
            ``iou_threshold``; "hard": 0 above it.
        sigma: see above.
        iou_threshold: see above.
        score_threshold: an overlapping box whose score falls below this is removed.
        merge: a box becomes the mean of itself and what overlaps it, corners weighted by their
            scores times (1 - decay) ^ ``merge_exponent``.
        merge_exponent: see above.
        keep_stale: return all rows, as published: a row that was moved into the place of a removed
            one also stays where it was, with the score that it had then.
        carry_scores: move what follows the score along with the box. As published the corners'
            scores stay, so merging may weigh a box by another's scores.
    """

    method: str = "gaussian"
    sigma: float = 0.5
    iou_threshold: float = 0.5
    score_threshold: float = 0.001
    merge: bool = False
    merge_exponent: float = 10.0
    keep_stale: bool = True
    carry_scores: bool = False

    def __post_init__(self) -> None:
        if self.method not in ("gaussian", "linear", "hard"):
            raise ValueError(f"soft-NMS is 'gaussian', 'linear' or 'hard', not '{self.method}'")


def soft_nms(
    rows: Array, settings: SoftNMSSettings, limit: int | None = None, floor: float = -math.inf
) -> Array:
    """Decay the scores of the boxes of one class.

    Args:
        rows: ``(n, 5 + c)`` of x1, y1, x2, y2, score and more: with ``settings.merge`` the scores
            of the top-left and of the bottom-right corner; left as they are. In pixels, where a
            box covers its last pixel too (+1).
        settings: see :class:`SoftNMSSettings`.
        limit: only the best ``limit`` rows matter, and those equal to the last of them.
        floor: only rows of at least this score matter.

    Returns:
        ``(m, 5 + c)``. Rows that matter by ``limit`` and ``floor`` are right; what the others are
        is not said, but that they do not matter.
    """
    rows = rows.copy()
    moved = slice(0, rows.shape[1] if settings.carry_scores else 5)
    count = len(rows)
    i = 0
    while i < count:
        best = i + int(rows[i:count, 4].argmax())
        if best != i:
            rows[[i, best], moved] = rows[[best, i], moved]
        # Scores only fall, so the rows come in falling order
        if i == limit:
            floor = max(floor, float(rows[i - 1, 4]))
        if rows[i, 4] < floor:
            break
        later = rows[i + 1 : count]
        iou = _overlaps(rows[i], later)
        weight = _decay(iou, settings)
        scores = later[:, 4] * weight
        removed = (iou > 0) & (scores < settings.score_threshold)
        if removed.any():
            place, source, left, written = _close_gaps(removed)
        else:
            place = source = np.arange(len(later))
            left = written = len(later)
        if settings.merge:
            scores_at = later[:, 5:] if settings.carry_scores else later[place, 5:]
            _merge(rows[i], later, scores_at, (1 - weight) ** settings.merge_exponent)
        if left < len(later):
            later[:written, moved] = later[source[:written], moved]
        later[:written, 4] = scores[source[:written]]
        count = i + 1 + left
        i += 1
    return rows[: len(rows) if settings.keep_stale else count]


def _overlaps(row: Array, later: Array) -> Array:
    """``(n,)`` intersection over union of a box with others; 0 for those it does not touch."""
    width = np.minimum(row[2], later[:, 2]) - np.maximum(row[0], later[:, 0]) + 1
    height = np.minimum(row[3], later[:, 3]) - np.maximum(row[1], later[:, 1]) + 1
    shared = width.clip(min=0) * height.clip(min=0)
    areas = (later[:, 2] - later[:, 0] + 1) * (later[:, 3] - later[:, 1] + 1)
    area = (row[2] - row[0] + 1) * (row[3] - row[1] + 1)
    return shared / (area + areas - shared)


def _decay(iou: Array, settings: SoftNMSSettings) -> Array:
    if settings.method == "gaussian":
        return np.exp(-(iou * iou) / settings.sigma)
    factor = 1 - iou if settings.method == "linear" else np.zeros_like(iou)
    return np.where(iou > settings.iou_threshold, factor, 1).astype(iou.dtype)


def _close_gaps(removed: npt.NDArray[np.bool_]) -> tuple[Indices, Indices, int, int]:
    """Fill the place of each removed row with the last one, until that one is not removed.

    Args:
        removed: ``(n,)``, whether a row goes once it is looked at.

    Returns:
        Where each row is when it is looked at; which row each place holds in the end; how many
        are left; how many places, from the first, hold a row that was looked at there.
    """
    place = np.arange(len(removed))
    source = place.copy()
    left = written = len(removed)
    for gap in np.flatnonzero(removed):
        if gap >= left:
            break
        while True:
            left = written = left - 1
            if left == gap:  # the last row takes its own place
                written = left + 1
                break
            place[left], source[gap] = gap, left
            if not removed[left]:
                break
    return place, source, left, written


def _merge(row: Array, later: Array, scores: Array, weight: Array) -> None:
    """Replace a box by its mean with others, each corner by its own scores; in place."""
    for corner, sides in enumerate((slice(0, 2), slice(2, 4))):
        share = weight * scores[:, corner]
        total = row[5 + corner] + share.sum()
        if total > 0:  # else no corner has any score
            row[sides] = (row[5 + corner] * row[sides] + share @ later[:, sides]) / total
