"""Targets, losses and decoding of keypoint triplets written out plainly: one box, one cell, one
pair at a time, in float64.

They are the yardstick of the fast versions, so they share no code with the package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Array = np.ndarray


# --- targets ---


def radius(height: float, width: float, overlap: float, corrected: bool) -> int:
    """Radius of a peak in whole cells, for a box of whole cells."""
    s, p, o = height + width, height * width, overlap
    q1 = math.sqrt(s * s - 4 * p * (1 - o) / (1 + o))
    q2 = math.sqrt(4 * s * s - 16 * (1 - o) * p)
    q3 = math.sqrt(4 * o * o * s * s + 16 * o * (1 - o) * p)
    if corrected:
        least = min((s - q1) / 2, (2 * s - q2) / 8, (q3 - 2 * o * s) / (8 * o))
    else:
        least = min((s + q1) / 2, (2 * s + q2) / 2, (q3 - 2 * o * s) / 2)
    return max(0, int(least))


def draw_peak(heat: Array, column: int, row: int, reach: int, divisor: float) -> None:
    """Merge one Gaussian into an (H, W) map by the maximum."""
    side = 2 * reach + 1
    sigma = side / divisor
    floor = np.finfo(np.float64).eps  # of the patch's greatest value, which is 1
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            y, x = row + dy, column + dx
            if 0 <= y < heat.shape[0] and 0 <= x < heat.shape[1]:
                value = math.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma))
                if value < floor:
                    value = 0.0
                heat[y, x] = max(heat[y, x], value)


class Points(NamedTuple):
    """One keypoint of each box of a batch."""

    heat: Array  # (B, K, H, W)
    cells: list[list[int]]  # an image: row * W + column of each box
    offsets: list[list[tuple[float, float]]]


def keypoint_targets(
    boxes: Sequence[Array],
    classes: Sequence[Array],
    input_size: tuple[int, int],
    output_size: tuple[int, int],
    num_classes: int,
    overlap: float,
    corrected: bool,
    corner_divisor: float = 6.0,
    center_divisor: float = 5.0,
) -> dict[str, Points]:
    """Targets of "tl", "br" and "ct" of images of float32 boxes."""
    out_h, out_w = output_size
    rx, ry = out_w / input_size[1], out_h / input_size[0]
    found = {}
    for name in ("tl", "br", "ct"):
        heat = np.zeros((len(boxes), num_classes, out_h, out_w))
        points = Points(heat, [[] for _ in boxes], [[] for _ in boxes])
        for b, (image_boxes, image_classes) in enumerate(zip(boxes, classes)):
            for (x1, y1, x2, y2), label in zip(image_boxes, image_classes):
                x, y = {
                    "tl": (x1, y1),
                    "br": (x2, y2),
                    "ct": ((x1 + x2) / np.float32(2), (y1 + y2) / np.float32(2)),
                }[name]
                fx, fy = float(x) * rx, float(y) * ry
                column, row = min(int(fx), out_w - 1), min(int(fy), out_h - 1)
                w, h = math.ceil(float(x2 - x1) * rx), math.ceil(float(y2 - y1) * ry)
                reach = radius(h, w, overlap, corrected)
                divisor = center_divisor if name == "ct" else corner_divisor
                draw_peak(heat[b, label], column, row, reach, divisor)
                points.cells[b].append(row * out_w + column)
                points.offsets[b].append((fx - column, fy - row))
        found[name] = points
    return found


# --- losses ---


def focal(logits: Array, target: Array) -> float:
    """Over a whole batch (B, K, H, W); positives are cells of target 1."""
    count, positive, negative = 0, 0.0, 0.0
    for logit, t in zip(logits.ravel(), target.ravel()):
        p = min(max(1 / (1 + math.exp(-logit)), 1e-4), 1 - 1e-4)
        if t == 1:
            count += 1
            positive += (1 - p) ** 2 * math.log(p)
        else:
            negative += (1 - t) ** 4 * p**2 * math.log(1 - p)
    return -negative if count == 0 else -(positive + negative) / count


def pull_push(
    tl: Sequence[Sequence[float]], br: Sequence[Sequence[float]], diagonal: bool = True
) -> tuple[float, float]:
    """Of the tags of each image's boxes."""
    pull = push = 0.0
    for first, second in zip(tl, br):
        n = len(first)
        means = [(a + b) / 2 for a, b in zip(first, second)]
        for a, b, m in zip(first, second, means):
            pull += ((a - m) ** 2 + (b - m) ** 2) / (n + 1e-4)
        for j in range(n):
            for k in range(n):
                if j == k and not diagonal:
                    continue
                term = max(0.0, 1 - abs(means[j] - means[k]))
                if diagonal:
                    term -= 1 / (n + 1e-4)
                push += term / (n * (n - 1) + 1e-4)
    return pull, push


def offsets(predicted: Array, expected: Array) -> float:
    """Smooth L1 of (N, 2)."""
    total = 0.0
    for a, b in zip(predicted.ravel(), expected.ravel()):
        d = abs(a - b)
        total += 0.5 * d * d if d < 1 else d - 0.5
    return total / (len(expected) + 1e-4)


# --- decoding ---


class Peak(NamedTuple):
    score: float
    label: int
    row: int
    column: int
    x: float
    y: float


class Pair(NamedTuple):
    score: float
    box: tuple[float, float, float, float]
    tl_score: float
    br_score: float
    label: int


def peaks(heat: Array, offset: Array, top_k: int) -> list[Peak]:
    """The best local maxima of (K, H, W) scores; offset: (2, H, W). Ties: in order of index."""
    found = []
    classes, height, width = heat.shape
    for c in range(classes):
        for i in range(height):
            for j in range(width):
                near = heat[c, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
                score = float(heat[c, i, j]) if heat[c, i, j] == near.max() else 0.0
                x, y = j + float(offset[0, i, j]), i + float(offset[1, i, j])
                found.append(Peak(score, c, i, j, x, y))
    return sorted(found, key=lambda p: -p.score)[:top_k]


def pairs(
    tl: Sequence[Peak], br: Sequence[Peak], tl_tag: Array, br_tag: Array, threshold: float
) -> list[Pair]:
    """All pairs that hold, best first; tags: (H, W)."""
    found = []
    for a in tl:
        for b in br:
            if a.label != b.label or b.x < a.x or b.y < a.y:
                continue
            if abs(float(tl_tag[a.row, a.column]) - float(br_tag[b.row, b.column])) > threshold:
                continue
            box = (a.x, a.y, b.x, b.y)
            found.append(Pair((a.score + b.score) / 2, box, a.score, b.score, a.label))
    return sorted(found, key=lambda p: -p.score)
