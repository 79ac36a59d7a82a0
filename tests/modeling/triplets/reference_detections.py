"""From decoded pairs to detections, written out plainly: one box, one centre, one row at a time.

It is the yardstick of the fast versions, so it shares no code with the package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Box = Sequence[float]  # x1, y1, x2, y2


class Center(NamedTuple):
    x: float
    y: float
    score: float
    label: int


class Geometry(NamedTuple):
    """Sizes are (height, width)."""

    scale: float
    resized: tuple[int, int]
    padded: tuple[int, int]
    top: int
    left: int
    output: tuple[int, int]


def geometry(height: int, width: int, scale: float) -> Geometry:
    h, w = int(height * scale), int(width * scale)
    ih, iw = h | 127, w | 127
    return Geometry(
        scale, (h, w), (ih, iw), ih // 2 - h // 2, iw // 2 - w // 2,
        ((ih + 1) // 4, (iw + 1) // 4),
    )  # fmt: skip


def box_in_image(box: Box, g: Geometry, mirror: bool, border: float | None) -> list[float] | None:
    """A box of cells in pixels of the image; None if it is rejected."""
    x1, y1, x2, y2 = box
    if mirror:
        x1, x2 = g.output[1] - x2, g.output[1] - x1
    ry, rx = g.output[0] / g.padded[0], g.output[1] / g.padded[1]
    x1, x2 = x1 / rx - g.left, x2 / rx - g.left
    y1, y2 = y1 / ry - g.top, y2 / ry - g.top
    h, w = g.resized
    if border is not None and (
        x1 <= -border or x2 >= w + border or y1 <= -border or y2 >= h + border
    ):
        return None
    clipped = [min(max(v, 0), limit) for v, limit in zip((x1, y1, x2, y2), (w, h, w, h))]
    return [v / g.scale for v in clipped]


def center_in_image(x: float, y: float, g: Geometry, mirror: bool) -> tuple[float, float]:
    if mirror:
        x = g.output[1] - x
    ry, rx = g.output[0] / g.padded[0], g.output[1] / g.padded[1]
    return (x / rx - g.left) / g.scale, (y / ry - g.top) / g.scale


def region(box: Box) -> list[float]:
    x1, y1, x2, y2 = box
    if (x2 - x1) * (y2 - y1) <= 22500:  # the middle third
        return [(2 * x1 + x2) / 3, (2 * y1 + y2) / 3, (x1 + 2 * x2) / 3, (y1 + 2 * y2) / 3]
    # the middle fifth
    return [
        (3 * x1 + 2 * x2) / 5, (3 * y1 + 2 * y2) / 5,
        (2 * x1 + 3 * x2) / 5, (2 * y1 + 3 * y2) / 5,
    ]  # fmt: skip


def center_score(box: Box, label: int, centers: Sequence[Center], best: bool) -> float | None:
    """Score of the centre that confirms a box; None if there is no such centre."""
    x1, y1, x2, y2 = region(box)
    found = [
        c.score for c in centers if c.label == label and x1 < c.x < x2 and y1 < c.y < y2
    ]  # fmt: skip
    if not found:
        return None
    return max(found) if best else found[0]


class Method(NamedTuple):
    name: str = "gaussian"
    sigma: float = 0.5
    nt: float = 0.5
    threshold: float = 0.001
    merge: bool = False
    exponent: float = 10.0
    carry: bool = False


def soft_nms(rows: Sequence[Sequence[float]], method: Method) -> tuple[list[list[float]], int]:
    """Rows x1, y1, x2, y2, score, tl score, br score after the published algorithm, and how many
    of them it says are left. The others are stale."""
    b = [list(row) for row in rows]
    columns = range(7 if method.carry else 5)
    initial = n = len(b)
    for i in range(initial):
        best = i
        for pos in range(i + 1, n):
            if b[pos][4] > b[best][4]:
                best = pos
        for c in columns:
            b[i][c], b[best][c] = b[best][c], b[i][c]

        x1, y1, x2, y2 = b[i][:4]
        sums = [b[i][5] * x1, b[i][5] * y1, b[i][6] * x2, b[i][6] * y2]
        totals = [b[i][5], b[i][5], b[i][6], b[i][6]]
        pos = i + 1
        while pos < n:
            u1, v1, u2, v2 = b[pos][:4]
            iw = min(x2, u2) - max(x1, u1) + 1
            ih = min(y2, v2) - max(y1, v1) + 1
            if iw > 0 and ih > 0:
                area = (u2 - u1 + 1) * (v2 - v1 + 1)
                iou = iw * ih / ((x2 - x1 + 1) * (y2 - y1 + 1) + area - iw * ih)
                if method.name == "gaussian":
                    weight = math.exp(-iou * iou / method.sigma)
                elif method.name == "linear":
                    weight = 1 - iou if iou > method.nt else 1.0
                else:
                    weight = 0.0 if iou > method.nt else 1.0
                share = (1 - weight) ** method.exponent
                for c, s in enumerate((5, 5, 6, 6)):
                    sums[c] += share * b[pos][s] * b[pos][c]
                    totals[c] += share * b[pos][s]
                b[pos][4] *= weight
                if b[pos][4] < method.threshold:
                    for c in columns:
                        b[pos][c] = b[n - 1][c]
                    n -= 1
                    pos -= 1
            pos += 1
        if method.merge:
            b[i][:4] = [s / t if t > 0 else v for s, t, v in zip(sums, totals, b[i])]
    return b, n


def best(rows: Sequence[Sequence[float]], limit: int) -> list[Sequence[float]]:
    """Rows whose score, the fifth value, is at least the limit-th highest."""
    if len(rows) <= limit:
        return list(rows)
    threshold = sorted((row[4] for row in rows), reverse=True)[limit - 1]
    return [row for row in rows if row[4] >= threshold]
