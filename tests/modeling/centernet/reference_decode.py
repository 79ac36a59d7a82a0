"""Decoding of output maps to boxes written out plainly in float64: one cell at a time.

It is the yardstick of the fast version, so it shares no code with the package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .reference import Level

MIN_BOX_SIDE = 0.01


class Detection(NamedTuple):
    score: float
    cls: int
    box: tuple[float, float, float, float]


class DecodeParams(NamedTuple):
    score_threshold: float
    pre_nms_topk: int
    post_nms_topk: int
    nms_threshold: float
    not_nms: bool = False
    center_nms: bool = False


def local_maxima(score: np.ndarray) -> np.ndarray:
    """(C, H, W) -> mask of the cells that no neighbour of the 3x3 window exceeds."""
    classes, height, width = score.shape
    keep = np.zeros(score.shape, dtype=bool)
    for c in range(classes):
        for i in range(height):
            for j in range(width):
                rows = slice(max(i - 1, 0), i + 2)
                cols = slice(max(j - 1, 0), j + 2)
                keep[c, i, j] = score[c, i, j] >= score[c, rows, cols].max()
    return keep


def decode_level(
    level: Level,
    class_score: np.ndarray | None,
    agnostic_score: np.ndarray | None,
    distances: np.ndarray,
    params: DecodeParams,
) -> list[Detection]:
    """Candidates of one level of one image.

    class_score: (C, H, W) probabilities; None for class-agnostic proposals.
    agnostic_score: (H, W) probabilities; None without an agnostic map.
    distances: (4, H, W) l, t, r, b in strides.
    """
    first = class_score if class_score is not None else agnostic_score[None]
    keep = local_maxima(first) if params.center_nms else np.ones(first.shape, dtype=bool)
    found = []
    for c in range(first.shape[0]):
        for i in range(level.height):
            for j in range(level.width):
                score = float(first[c, i, j])
                if not (keep[c, i, j] and score > params.score_threshold):
                    continue
                if class_score is not None and agnostic_score is not None:
                    score *= float(agnostic_score[i, j])
                found.append((score, c, i, j))
    found.sort(key=lambda item: -item[0])

    out = []
    for score, c, i, j in found[: params.pre_nms_topk]:
        x, y = j * level.stride + level.stride // 2, i * level.stride + level.stride // 2
        left, top, right, bottom = (float(v) * level.stride for v in distances[:, i, j])
        x1, y1 = x - left, y - top
        x2, y2 = max(x + right, x1 + MIN_BOX_SIDE), max(y + bottom, y1 + MIN_BOX_SIDE)
        if agnostic_score is not None:
            score = math.sqrt(score)
        out.append(Detection(score, c, (x1, y1, x2, y2)))
    return out


def box_iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    intersection = width * height
    area_a = (a[2] - a[0]) * (a[3] - a[1])
    area_b = (b[2] - b[0]) * (b[3] - b[1])
    return intersection / (area_a + area_b - intersection)


def suppress(detections: Sequence[Detection], threshold: float) -> list[Detection]:
    """Greedy: the best of what is left stays and removes those of its class that overlap it."""
    kept: list[Detection] = []
    for candidate in sorted(detections, key=lambda d: -d.score):
        rivals = [d for d in kept if d.cls == candidate.cls]
        if all(box_iou(candidate.box, rival.box) <= threshold for rival in rivals):
            kept.append(candidate)
    return kept


def decode_image(
    levels: Sequence[Level],
    class_scores: Sequence[np.ndarray] | None,
    agnostic_scores: Sequence[np.ndarray] | None,
    distances: Sequence[np.ndarray],
    params: DecodeParams,
) -> list[Detection]:
    """Detections of one image, best first."""
    found = []
    for n, level in enumerate(levels):
        found += decode_level(
            level,
            None if class_scores is None else class_scores[n],
            None if agnostic_scores is None else agnostic_scores[n],
            distances[n],
            params,
        )
    if not (params.not_nms or params.center_nms):
        found = suppress(found, params.nms_threshold)
    return sorted(found, key=lambda d: -d.score)[: params.post_nms_topk]
