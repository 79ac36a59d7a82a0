"""Random scenes (pyramid, boxes, classes) with the shapes that break target assignment.

Coordinates are multiples of a quarter pixel, so that centres, cell borders and sides are exact
in float32 and a float64 reference decides every "inside" and "in range" in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from .reference import Level, Params, half_diagonal

NUM_CLASSES = 3


class Scene(NamedTuple):
    levels: tuple[Level, ...]
    params: Params
    image_sizes: list[tuple[int, int]]  # height, width; the grid covers the padded batch
    boxes: list[np.ndarray]  # per image (N, 4)
    classes: list[np.ndarray]  # per image (N,)


def pyramid(height: int, width: int, strides: Sequence[int]) -> tuple[Level, ...]:
    return tuple(Level(math.ceil(height / s), math.ceil(width / s), s) for s in strides)


_SETTINGS = (
    # Overlapping ranges on three levels
    ((8, 16, 32), Params([[0, 20], [15, 40], [30, 1e7]], 0.8, 4.0)),
    # One level for all sizes, wide peaks
    ((4,), Params([[0, 1e6]], 0.5, 2.0)),
    # A gap between the ranges: some boxes belong to no level
    ((8, 32), Params([[0, 12.5], [25, 64]], 0.8, 16.0)),
)


def _quarters(low: float, high: float) -> st.SearchStrategy[float]:
    return st.integers(math.ceil(low * 4), math.floor(high * 4)).map(lambda v: v / 4)


def _around(cx: float, cy: float, width: float, height: float) -> list[float]:
    return [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2]


@st.composite
def _box(draw: st.DrawFn, height: int, width: int, params: Params, inside: bool) -> list[float]:
    kind = draw(
        st.sampled_from(
            ["any", "tiny", "thin", "huge", "empty", "border", "cell_border", "range_end"]
            + ([] if inside else ["sticking_out", "outside"])
        )
    )
    half = st.integers(1, 40).map(lambda v: v / 2)
    if kind == "tiny":
        x, y = draw(_quarters(0, width - 2)), draw(_quarters(0, height - 2))
        box = [x, y, x + draw(_quarters(0.25, 2)), y + draw(_quarters(0.25, 2))]
    elif kind == "thin":
        # Reaches neighbours of its centre cell at which its narrow peak has long died out
        cx, cy = draw(_quarters(width / 4, width * 3 / 4)), draw(st.integers(0, height // 8)) * 8.0
        box = _around(cx, cy, draw(_quarters(width / 2, width)), draw(_quarters(1, 9)))
    elif kind == "huge":
        margin = 0 if inside else draw(_quarters(0, 500))
        box = [-margin, -margin, width + margin, height + margin]
    elif kind == "empty":
        x, y = draw(_quarters(0, width)), draw(_quarters(0, height))
        box = [x, y, x + draw(st.sampled_from([0.0, 8.0])), y]
    elif kind == "border":
        w, h = draw(_quarters(1, width)), draw(_quarters(1, height))
        x, y = draw(st.sampled_from([0, width - w])), draw(st.sampled_from([0, height - h]))
        box = [x, y, x + w, y + h]
    elif kind == "cell_border":
        # Centre on a corner or an edge of cells of every level that divides it
        cx, cy = (draw(st.integers(0, n // 4)) * 4.0 for n in (width, height))
        box = _around(cx, cy, draw(half) * 2, draw(half) * 2)
    elif kind == "range_end":
        # Sides 3:4, so that the half diagonal is exactly an end of a range
        end = draw(st.sampled_from([e for r in params.soi for e in r if 0 < e < 100] or [10.0]))
        box = _around(draw(_quarters(0, width)), draw(_quarters(0, height)), 1.2 * end, 1.6 * end)
    elif kind == "sticking_out":
        cx, cy = draw(_quarters(-30, width + 30)), draw(_quarters(-30, height + 30))
        box = _around(cx, cy, draw(half) * 4, draw(half) * 4)
    elif kind == "outside":
        cx = draw(st.sampled_from([-20.0, width + 20.0]))
        box = _around(cx, draw(_quarters(0, height)), draw(half), draw(half))
    else:
        xs = sorted(draw(st.tuples(_quarters(0, width), _quarters(0, width))))
        ys = sorted(draw(st.tuples(_quarters(0, height), _quarters(0, height))))
        box = [xs[0], ys[0], xs[1], ys[1]]
    if inside:
        box = [
            min(max(v, 0.0), float(limit)) for v, limit in zip(box, (width, height, width, height))
        ]
    return [math.floor(v * 4) / 4 for v in box]


def _decidable(box: list[float], params: Params) -> bool:
    """Not so close to the end of a range that float32 may round across it."""
    size = half_diagonal(box)
    return all(size == e or abs(size - e) > 1e-5 * e for r in params.soi for e in r)


@st.composite
def scenes(draw: st.DrawFn, inside: bool = True, max_boxes: int = 6) -> Scene:
    """Batches of one to three small images; inside: boxes are clipped to their image."""
    strides, params = draw(st.sampled_from(_SETTINGS))
    image_sizes = draw(
        st.lists(st.tuples(st.integers(9, 64), st.integers(9, 64)), min_size=1, max_size=3)
    )
    levels = pyramid(max(h for h, _ in image_sizes), max(w for _, w in image_sizes), strides)
    boxes, classes = [], []
    for height, width in image_sizes:
        one = _box(height, width, params, inside).filter(lambda b: _decidable(b, params))
        image_boxes = draw(st.lists(one, max_size=max_boxes))
        if image_boxes and draw(st.booleans()):
            image_boxes.append(image_boxes[0])  # identical boxes, perhaps of two classes
        boxes.append(np.array(image_boxes, dtype=np.float64).reshape(-1, 4))
        labels = st.integers(0, NUM_CLASSES - 1)
        count = len(image_boxes)
        classes.append(
            np.array(draw(st.lists(labels, min_size=count, max_size=count)), dtype=np.int64)
        )
    return Scene(levels, params, image_sizes, boxes, classes)
