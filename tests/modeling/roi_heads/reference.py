"""Second-stage scores and classification losses written out plainly in float64.

They are the yardstick of the fast versions, so they share no code with the package.
Labels run over 0..C-1 for objects and C for background; logits have C + 1 columns.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np


def softmax(row: Sequence[float]) -> list[float]:
    top = max(row)
    exps = [math.exp(v - top) for v in row]
    return [e / sum(exps) for e in exps]


def sigmoid(logit: float) -> float:
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    return math.exp(logit) / (1.0 + math.exp(logit))


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def binary_cross_entropy(logit: float, target: float) -> float:
    """-[t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))]."""
    return target * softplus(-logit) + (1.0 - target) * softplus(logit)


def class_probabilities(logits: np.ndarray, use_sigmoid: bool) -> np.ndarray:
    rows = [[sigmoid(v) for v in row] if use_sigmoid else softmax(row) for row in logits]
    return np.array(rows).reshape(logits.shape)


def detection_scores(
    logits_per_stage: Sequence[np.ndarray],
    proposal_scores: Sequence[float] | None,
    use_sigmoid: bool,
) -> np.ndarray:
    """(R, C) scores; proposal_scores None: not multiplied (and then no square root)."""
    stages = [class_probabilities(logits, use_sigmoid) for logits in logits_per_stage]
    rois, columns = stages[0].shape
    out = np.zeros((rois, columns - 1))
    for r in range(rois):
        for c in range(columns - 1):
            mean = sum(stage[r, c] for stage in stages) / len(stages)
            if proposal_scores is None:
                out[r, c] = mean
            else:
                out[r, c] = math.sqrt(mean * proposal_scores[r])
    return out


def softmax_loss(logits: np.ndarray, labels: Sequence[int]) -> float:
    if len(labels) == 0:
        return 0.0
    return sum(-math.log(softmax(row)[k]) for row, k in zip(logits, labels)) / len(labels)


def sigmoid_loss(
    logits: np.ndarray,
    labels: Sequence[int],
    *,
    tail_classes: Collection[int] = (),
    only_classes: Collection[int] | None = None,
) -> float:
    """Sum over RoIs and classes over the number of RoIs; the last column is not used.

    tail_classes: equalization loss, a RoI of another (foreground) class spares these.
    only_classes: federated loss, only these classes count.
    """
    if len(labels) == 0:
        return 0.0
    num_classes = logits.shape[1] - 1
    total = 0.0
    for row, label in zip(logits, labels):
        for j in range(num_classes):
            if only_classes is not None and j not in only_classes:
                continue
            is_foreground = label != num_classes
            if is_foreground and j != label and j in tail_classes:
                continue
            total += binary_cross_entropy(float(row[j]), 1.0 if j == label else 0.0)
    return total / len(labels)
