"""First-stage losses written out plainly in float64: one cell and one number at a time.

They are the yardstick of the fast versions, so they share no code with the package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def clamped_probability(logit: float, clamp: float) -> float:
    if logit >= 0:
        p = 1.0 / (1.0 + math.exp(-min(logit, 700.0)))
    else:
        p = math.exp(max(logit, -700.0)) / (1.0 + math.exp(max(logit, -700.0)))
    return min(max(p, clamp), 1.0 - clamp)


def heatmap_focal_loss(
    logits: np.ndarray,
    target: np.ndarray,
    pos_index: Sequence[int],
    *,
    alpha: float,
    beta: float,
    gamma: float,
    clamp: float,
    ignore_high_fp: float,
) -> tuple[float, float]:
    """Sums of the positive and of the negative part (not yet divided by the positives)."""
    flat_logits = np.asarray(logits, dtype=np.float64).reshape(-1)
    flat_target = np.asarray(target, dtype=np.float64).reshape(-1)
    pos_weight, neg_weight = (alpha, 1.0 - alpha) if alpha >= 0 else (1.0, 1.0)

    positive = 0.0
    for index in pos_index:
        p = clamped_probability(float(flat_logits[index]), clamp)
        positive -= pos_weight * (1.0 - p) ** gamma * math.log(p)

    negative = 0.0
    for logit, t in zip(flat_logits, flat_target):
        p = clamped_probability(float(logit), clamp)
        if ignore_high_fp > 0 and p >= ignore_high_fp:
            continue
        negative -= neg_weight * p**gamma * (1.0 - float(t)) ** beta * math.log(1.0 - p)
    return positive, negative


def single_box_loss(pred: Sequence[float], target: Sequence[float], kind: str) -> float:
    """Loss of one (l, t, r, b) against another, both measured from the same cell."""
    pl, pt, pr, pb = (float(v) for v in pred)
    tl, tt, tr, tb = (float(v) for v in target)
    pred_area = (pl + pr) * (pt + pb)
    target_area = (tl + tr) * (tt + tb)
    intersection = (min(pl, tl) + min(pr, tr)) * (min(pt, tt) + min(pb, tb))
    union = pred_area + target_area - intersection
    iou = (intersection + 1.0) / (union + 1.0)
    if kind == "iou":
        return -math.log(iou)
    if kind == "linear_iou":
        return 1.0 - iou
    if kind == "giou":
        enclosing = (max(pl, tl) + max(pr, tr)) * (max(pt, tt) + max(pb, tb))
        return 1.0 - (iou - (enclosing - union) / enclosing)
    raise ValueError(kind)


def distance_box_loss(
    pred: np.ndarray, target: np.ndarray, weight: np.ndarray | None, kind: str
) -> float:
    total = 0.0
    for n in range(len(pred)):
        w = 1.0 if weight is None else float(weight[n])
        total += w * single_box_loss(pred[n], target[n], kind)
    return total
