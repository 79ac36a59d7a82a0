"""Checks of polygons and run-length masks, and of boxes and areas against them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import shapely

from centernet2.data.doctor.boxes import LARGEST, box_column, is_number
from centernet2.data.doctor.findings import shown
from centernet2.data.doctor.run_lengths import decode_strings, measure_runs
from centernet2.data.doctor.tables import Dataset

__all__ = ["check_masks"]

BOX_TOLERANCE = (4.0, 0.1)  # pixels, and share of the box's side
RUNS_AT_ONCE = 2000
NO_AREA = 1e-3  # square pixels; points on a line enclose less, but for rounding not always 0
AREA_TOLERANCE = (20.0, 0.25)  # pixels, and share of the mask's area


def check_masks(data: Dataset) -> None:
    """Masks that cannot be read or drawn, and boxes and areas that are not theirs."""
    annotations = data.annotations
    values: list[Any] = [record.get("segmentation") for record in annotations.records]
    if all(value is None for value in values):
        return
    # area and (x, y, width, height) of each mask, NaN where it could not be measured
    shapes = np.full((len(values), 5), np.nan)
    polygons: list[tuple[int, int, list[float]]] = []
    runs: list[tuple[int, Any, Any]] = []
    for row, value in enumerate(values):
        if value is None:
            data.add("segmentation-missing", annotations, row)
        elif type(value) is list:
            if not value:
                data.add("segmentation-empty", annotations, row, "segmentation []")
            polygons += _sound_polygons(data, row, value)
        elif type(value) is dict:
            size = value.get("size")
            if _is_size(data, row, size):
                runs.append((row, size, value.get("counts")))
        else:
            data.add("segmentation-bad", annotations, row, f"segmentation {shown(value)}")
    _measure_polygons(data, polygons, shapes)
    for start in range(0, len(runs), RUNS_AT_ONCE):  # bounds the memory
        _measure_runs(data, runs[start : start + RUNS_AT_ONCE], shapes)
    _compare(data, shapes)


def _sound_polygons(
    data: Dataset, row: int, parts: list[Any]
) -> list[tuple[int, int, list[float]]]:
    """(row, position, coordinates) of the parts that are a polygon."""
    sound = []
    for place, part in enumerate(parts):
        if type(part) is not list or not set(map(type, part)) <= {int, float}:
            data.add("polygon-bad", data.annotations, row, f"polygon {place}: {shown(part)}", place)
        elif len(part) % 2:
            detail = f"polygon {place}: {len(part)} coordinates"
            data.add("polygon-odd", data.annotations, row, detail, place)
        elif len(part) < 6:
            detail = f"polygon {place}: {len(part) // 2} points"
            data.add("polygon-short", data.annotations, row, detail, place)
        elif not (max(part) < LARGEST and min(part) > -LARGEST) or math.isnan(sum(part)):
            data.add("polygon-bad", data.annotations, row, f"polygon {place}: {shown(part)}", place)
        else:
            sound.append((row, place, part))
    return sound


def _measure_polygons(
    data: Dataset, polygons: list[tuple[int, int, list[float]]], shapes: np.ndarray
) -> None:
    if not polygons:
        return
    lengths = np.array([len(part) // 2 for _, _, part in polygons])
    flat = itertools.chain.from_iterable(part for _, _, part in polygons)
    points = np.fromiter(flat, np.float64, 2 * int(lengths.sum())).reshape(-1, 2)
    rings = shapely.linearrings(points, indices=np.repeat(np.arange(len(lengths)), lengths))
    drawn = shapely.polygons(rings)
    areas = shapely.area(drawn)
    for i in np.flatnonzero(areas < NO_AREA):
        row, place, _ = polygons[i]
        data.add("polygon-no-area", data.annotations, row, f"polygon {place}", place)
    odd = np.flatnonzero(~shapely.is_valid(drawn) & (areas >= NO_AREA))
    for i, reason in zip(odd, shapely.is_valid_reason(drawn[odd])):
        # "Ring Self-intersection" is an outline that touches itself: its mask is as drawn
        if reason.startswith("Self-intersection"):
            row, place, _ = polygons[i]
            x, y = map(float, reason.partition("[")[2].rstrip("]").split())
            detail = f"polygon {place} crosses itself at {x:.1f}, {y:.1f}"
            data.add("polygon-self-crossing", data.annotations, row, detail, place)
    rows, first = np.unique([row for row, _, _ in polygons], return_index=True)
    point = np.r_[0, np.cumsum(lengths)[:-1]][first]
    low, high = np.minimum.reduceat(points, point), np.maximum.reduceat(points, point)
    shapes[rows] = np.column_stack([np.add.reduceat(areas, first), low, high - low])


def _is_size(data: Dataset, row: int, size: Any) -> bool:
    good = (
        type(size) is list
        and len(size) == 2
        and all(type(side) is int and 0 < side < 2**20 for side in size)
    )
    width, height = data.sizes[row]
    if good and (np.isnan(width) or size == [height, width]):
        return True
    detail = f"size {shown(size)}"
    if good:
        detail += f", image height {height:.0f}, width {width:.0f}"
    data.add("rle-broken", data.annotations, row, detail)
    return False


def _measure_runs(data: Dataset, masks: list[tuple[int, Any, Any]], shapes: np.ndarray) -> None:
    texts = [i for i, (_, _, counts) in enumerate(masks) if type(counts) is str]
    ascii_texts = [masks[i][2].encode("ascii", "replace") for i in texts]  # "?" is no digit of it
    decoded: list[np.ndarray | None] = [None] * len(masks)
    for i, run in zip(texts, decode_strings(ascii_texts)):
        decoded[i] = run
    for i, (_, _, counts) in enumerate(masks):
        if type(counts) is list and counts and set(map(type, counts)) == {int}:
            decoded[i] = np.array(counts) if max(map(abs, counts)) < 2**40 else None
    good = [i for i, run in enumerate(decoded) if run is not None]
    for i in sorted(set(range(len(masks))) - set(good)):
        data.add("rle-broken", data.annotations, masks[i][0], "counts cannot be decoded")
    sizes = np.array([masks[i][1] for i in good], np.int64).reshape(-1, 2)
    shape = measure_runs([run for run in decoded if run is not None], sizes[:, 0])
    for j, i in enumerate(good):
        row, pixels = masks[i][0], int(sizes[j].prod())
        if shape.total[j] != pixels or shape.negative[j]:
            detail = f"its runs cover {shape.total[j]} of {pixels} pixels"
            data.add("rle-broken", data.annotations, row, detail)
        elif shape.area[j] == 0:
            data.add("segmentation-empty", data.annotations, row, "an RLE without a pixel")
        else:
            shapes[row] = shape.area[j], *shape.box[j]


def _compare(data: Dataset, shapes: np.ndarray) -> None:
    boxes, _ = box_column(data)
    off = np.abs(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1) - _corners(shapes))
    allowed = np.maximum(BOX_TOLERANCE[0], BOX_TOLERANCE[1] * np.tile(boxes[:, 2:], 2))
    positive = (boxes[:, 2:] > 0).all(1)
    for row in np.flatnonzero(positive & (off > allowed).any(1)):
        mask = ", ".join(f"{side:.1f}" for side in shapes[row, 1:])
        detail = f"bbox {shown(data.annotations.records[row]['bbox'])}, mask [{mask}]"
        data.add("box-mask-disagree", data.annotations, int(row), detail)
    areas: list[Any] = [record.get("area") for record in data.annotations.records]
    usable = [a if is_number(a) and 0 < a < LARGEST**2 else np.nan for a in areas]
    difference = np.abs(np.array(usable, np.float64) - shapes[:, 0])
    allowed = np.maximum(AREA_TOLERANCE[0], AREA_TOLERANCE[1] * shapes[:, 0])
    for row in np.flatnonzero(difference > allowed):
        detail = f"area {areas[row]}, mask {shapes[row, 0]:.0f}"
        data.add("area-mask-disagree", data.annotations, int(row), detail)


def _corners(shapes: np.ndarray) -> np.ndarray:
    return np.concatenate([shapes[:, 1:3], shapes[:, 1:3] + shapes[:, 3:]], 1)
