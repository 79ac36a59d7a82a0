"""Training targets written out plainly in float64: one cell, one box, one class at a time.

They are the yardstick of the fast versions, so they share no code with the package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Box = Sequence[float]  # x1, y1, x2, y2 in pixels
ImageSize = tuple[int, int]  # height, width: centres are clamped into it; None: left outside
HEATMAP_FLOOR = 1e-4


class Level(NamedTuple):
    height: int
    width: int
    stride: int


class Params(NamedTuple):
    soi: Sequence[Sequence[float]]
    min_overlap: float
    min_radius: float

    @property
    def delta(self) -> float:
        return (1.0 - self.min_overlap) / (1.0 + self.min_overlap)


class Cell(NamedTuple):
    level: int
    row: int
    col: int
    x: float
    y: float


def cells(levels: Sequence[Level]) -> list[Cell]:
    """All cells of one image: fine to coarse, then row by row."""
    out = []
    for level, (height, width, stride) in enumerate(levels):
        for row in range(height):
            for col in range(width):
                x, y = col * stride + stride // 2, row * stride + stride // 2
                out.append(Cell(level, row, col, float(x), float(y)))
    return out


def cell_number(levels: Sequence[Level], level: int, row: int, col: int) -> int | None:
    """Position of a cell in `cells`, or None where the grid does not reach."""
    height, width, _ = levels[level]
    if not (0 <= row < height and 0 <= col < width):
        return None
    before = sum(lv.height * lv.width for lv in levels[:level])
    return before + row * width + col


def half_diagonal(box: Box) -> float:
    return 0.5 * math.sqrt((box[2] - box[0]) ** 2 + (box[3] - box[1]) ** 2)


def level_cares(box: Box, size_range: Sequence[float]) -> bool:
    return size_range[0] <= half_diagonal(box) <= size_range[1]


def box_centre(box: Box, image_size: ImageSize | None) -> tuple[float, float]:
    x, y = (box[0] + box[2]) / 2.0, (box[1] + box[3]) / 2.0
    if image_size is not None:
        height, width = image_size
        x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    return x, y


def centre_cell(box: Box, stride: int, image_size: ImageSize | None) -> tuple[int, int]:
    """(row, col) of the cell that holds the centre; it may lie outside the grid."""
    x, y = box_centre(box, image_size)
    return math.floor(y / stride), math.floor(x / stride)


def scaled_distance(
    cell: Cell, stride: int, box: Box, params: Params, size: ImageSize | None
) -> float:
    """d2 of a cell to a box: squared distance over the squared radius of the box's peak."""
    if (cell.row, cell.col) == centre_cell(box, stride, size):
        return 0.0
    x, y = box_centre(box, size)
    area = (box[2] - box[0]) * (box[3] - box[1])
    radius2 = max(2.0 * params.delta**2 * area, params.min_radius**2)
    return ((cell.x - x) ** 2 + (cell.y - y) ** 2) / radius2


def heatmap(
    levels: Sequence[Level],
    boxes: Sequence[Box],
    classes: Sequence[int] | None,
    num_classes: int,
    params: Params,
    size: ImageSize | None = None,
) -> np.ndarray:
    """(M, num_classes) targets of one image, or (M, 1) over all boxes if classes is None."""
    grid = cells(levels)
    out = np.zeros((len(grid), num_classes if classes is not None else 1))
    for m, cell in enumerate(grid):
        for channel in range(out.shape[1]):
            nearest = math.inf
            for n, box in enumerate(boxes):
                if classes is None or classes[n] == channel:
                    stride = levels[cell.level].stride
                    nearest = min(nearest, scaled_distance(cell, stride, box, params, size))
            value = math.exp(-nearest)
            out[m, channel] = value if value >= HEATMAP_FLOOR else 0.0
    return out


def positives(
    levels: Sequence[Level],
    boxes: Sequence[Box],
    classes: Sequence[int],
    params: Params,
    size: ImageSize | None = None,
) -> list[tuple[int, int]]:
    """(cell, class), once for each box and each of its levels."""
    out = []
    for box, cls in zip(boxes, classes):
        for level in range(len(levels)):
            if level_cares(box, params.soi[level]):
                row, col = centre_cell(box, levels[level].stride, size)
                m = cell_number(levels, level, row, col)
                if m is not None:
                    out.append((m, int(cls)))
    return out


def distances_to_sides(cell: Cell, box: Box) -> tuple[float, float, float, float]:
    return cell.x - box[0], cell.y - box[1], box[2] - cell.x, box[3] - cell.y


def may_regress(
    cell: Cell, levels: Sequence[Level], box: Box, params: Params, size: ImageSize | None
) -> bool:
    """Whether the box is a candidate for the regression target of the cell."""
    stride = levels[cell.level].stride
    row, col = centre_cell(box, stride, size)
    centre_x, centre_y = col * stride + stride / 2, row * stride + stride / 2
    strictly_inside = min(distances_to_sides(cell, box)) > 0
    near = abs(cell.x - centre_x) <= stride and abs(cell.y - centre_y) <= stride
    return strictly_inside and near and level_cares(box, params.soi[cell.level])


def regression(
    levels: Sequence[Level], boxes: Sequence[Box], params: Params, size: ImageSize | None = None
) -> dict[int, list[np.ndarray]]:
    """Cell -> its (l, t, r, b) in strides; several where boxes are equally near, any is right."""
    out = {}
    for m, cell in enumerate(cells(levels)):
        stride = levels[cell.level].stride
        candidates = []
        for box in boxes:
            if may_regress(cell, levels, box, params, size):
                d2 = scaled_distance(cell, stride, box, params, size)
                target = np.array(distances_to_sides(cell, box)) / stride
                candidates.append((d2, target))
        if candidates:
            least = min(d2 for d2, _ in candidates)
            out[m] = [target for d2, target in candidates if d2 <= least * (1 + 1e-5)]
    return out


def more_positives(
    levels: Sequence[Level],
    boxes: Sequence[Box],
    classes: Sequence[int],
    params: Params,
    prediction: np.ndarray,
    cost: Callable[[Sequence[float], Sequence[float]], float],
    threshold: float,
    topk: int,
    size: ImageSize | None = None,
) -> list[tuple[int, int]]:
    """(cell, class) of the larger set of positives of one image.

    prediction: (M, 4), the boxes the network gives at the cells, in strides.
    cost: the regression loss of one predicted (l, t, r, b) against one target.
    """
    grid = cells(levels)
    out = []
    for box, cls in zip(boxes, classes):
        costs = {}
        for level in range(len(levels)):
            stride = levels[level].stride
            centre_row, centre_col = centre_cell(box, stride, size)
            for row in range(centre_row - 1, centre_row + 2):
                for col in range(centre_col - 1, centre_col + 2):
                    m = cell_number(levels, level, row, col)
                    if m is None or min(distances_to_sides(grid[m], box)) < 0:
                        continue
                    is_centre = (row, col) == (centre_row, centre_col)
                    if is_centre and level_cares(box, params.soi[level]):
                        costs[m] = 0.0
                    else:
                        target = np.array(distances_to_sides(grid[m], box)) / stride
                        costs[m] = cost(prediction[m], target)
        ranked = sorted(costs.values())
        limit = min(threshold, ranked[topk - 1] if len(ranked) >= topk else math.inf)
        out += [(m, int(cls)) for m, value in costs.items() if value < limit]
    return out
