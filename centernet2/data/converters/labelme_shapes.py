"""The shapes of LabelMe's files, and their geometry in COCO's format."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import shapely
from PIL import Image

from centernet2.errors import UserError

__all__ = ["MASKED", "REGIONS", "Shape", "geometry", "read_shape"]

_CORNERS = ("polygon", "oriented_rectangle", "rotation")  # the last is X-AnyLabeling's
MASKED = (*_CORNERS, "circle", "mask")  # have an outline; a rectangle may be just a box
REGIONS = (*MASKED, "rectangle")  # what can enclose an object

_FAR = 1e9  # pixels; no image is as large
_LARGEST_CIRCLE = 1e5  # radius in pixels up to which outlines get ever more corners


@dataclass(frozen=True)
class Shape:
    """One shape.

    Attributes:
        label: name of its class.
        kind: LabelMe's ``shape_type``.
        group: ``group_id``, ``None`` where it has none.
        points: (N, 2) x and y in pixels: corners of a polygon, opposite corners of a rectangle or a
            mask, centre and a point on the rim of a circle.
        pixels: (H, W) bool of a mask, whose upper left pixel lies at the first point.
    """

    label: str
    kind: str
    group: int | str | None
    points: np.ndarray
    pixels: np.ndarray | None = None


def read_shape(where: str, entry: Any) -> Shape:
    """Check an entry of ``shapes``.

    Args:
        where: file and number, for messages.
        entry: a JSON value.

    Raises:
        UserError: saying what is wrong.
    """
    if not isinstance(entry, dict):
        raise UserError(f"{where} is {entry!r:.60}, not an object.")
    label, kind = entry.get("label"), entry.get("shape_type", "polygon")
    if not isinstance(label, str) or not label.strip():
        raise UserError(f"{where} has the label {label!r}; give it the name of a class.")
    if not isinstance(kind, str):
        raise UserError(f"{where} has the shape_type {kind!r}, not a name.")
    group = entry.get("group_id")
    if group is not None and not isinstance(group, (int, str)):
        raise UserError(f"{where} has the group_id {group!r}, not a number.")
    if kind not in REGIONS:
        return Shape(label, kind, group, np.zeros((0, 2)))
    points = _points(where, entry.get("points"))
    if len(points) < 2 or (kind == "circle" and len(points) != 2):
        raise UserError(f"{where}, a {kind}, has {len(points)} points.")
    return Shape(label, kind, group, points, _pixels(where, entry) if kind == "mask" else None)


def _points(where: str, points: Any) -> np.ndarray:
    try:
        found = np.array(points, np.float64)
    except (TypeError, ValueError, OverflowError):
        found = np.zeros(0)
    if found.ndim != 2 or found.shape[1] != 2 or not (np.abs(found) <= _FAR).all():
        raise UserError(f"{where} has the points {points!r:.60}; they must be pairs [x, y].")
    return found


def _pixels(where: str, entry: dict[str, Any]) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(base64.b64decode(entry["mask"], validate=True))) as image:
            return np.asarray(image.convert("L")) > 0
    except Exception as error:  # a missing key, no base64, and what Pillow's decoders raise
        raise UserError(f"{where} has no readable 'mask' (a PNG in base64).") from error


def geometry(
    shapes: Sequence[Shape], width: int, height: int, masks: bool
) -> dict[str, Any] | None:
    """Box, area and mask of the object that consists of some shapes.

    Args:
        shapes: of one object.
        width, height: of the image, in pixels; shapes are cut off there.
        masks: whether objects get a ``segmentation``.

    Returns:
        "bbox", "area" and maybe "segmentation" (polygons, or run lengths where a shape is a mask)
        in COCO's format; ``None`` if the object has no area in the image.
    """
    if any(shape.pixels is not None for shape in shapes):
        return _run_lengths(shapes, width, height)
    outlines = [np.clip(_outline(shape), 0, (width, height)) for shape in shapes]
    # make_valid: an outline that crosses itself has the area that a drawing of it would fill
    areas = [shapely.make_valid(shapely.Polygon(outline)) for outline in outlines]
    outlines = [outline for outline, area in zip(outlines, areas) if area.area > 0]
    if not outlines:
        return None
    corners = np.concatenate(outlines)
    low, high = corners.min(0), corners.max(0)
    found = {
        "bbox": [*low.tolist(), *(high - low).tolist()],
        "area": float(shapely.union_all(areas).area),
    }
    if masks:
        found["segmentation"] = [outline.ravel().tolist() for outline in outlines]
    return found


def _outline(shape: Shape) -> np.ndarray:
    """(N, 2) corners, at least 3."""
    points = shape.points
    if shape.kind == "circle":
        centre, radius = points[0], math.dist(*points)
        # As many corners as keep it within half a pixel of the circle, its four extremes among them
        needed = math.pi / math.acos(1 - 0.5 / min(max(radius, 1), _LARGEST_CIRCLE))
        angles = np.linspace(0, 2 * math.pi, 4 * max(3, math.ceil(needed / 4)), endpoint=False)
        return centre + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    if shape.kind == "rectangle":  # two corners; other tools write all four
        (left, top), (right, bottom) = points.min(0), points.max(0)
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    return points if len(points) > 2 else np.repeat(points, 2, axis=0)


def _run_lengths(shapes: Sequence[Shape], width: int, height: int) -> dict[str, Any] | None:
    whole = np.zeros((height, width), np.uint8, order="F")
    for shape in shapes:
        if shape.pixels is None:
            outline = np.clip(_outline(shape), 0, (width, height)).ravel().tolist()
            runs = mask_util.merge(mask_util.frPyObjects([outline], height, width))
            whole |= mask_util.decode(runs)
            continue
        x, y = np.rint(shape.points.min(0)).astype(int)
        left, top = np.clip((x, y), 0, (width, height))
        part = shape.pixels[top - y :, left - x :][: height - top, : width - left]
        whole[top : top + part.shape[0], left : left + part.shape[1]] |= part
    runs = mask_util.encode(whole)
    area = int(mask_util.area(runs))
    if area == 0:
        return None
    return {
        "bbox": mask_util.toBbox(runs).tolist(),
        "area": area,
        "segmentation": {"size": [height, width], "counts": runs["counts"].decode("ascii")},
    }
