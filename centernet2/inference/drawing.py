"""Detections on pictures: boxes, masks and labels sized to the image; comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
from detectron2.structures import Instances

from centernet2.inference.colors import Color, color_of
from centernet2.inference.plates import fit_plate, paste, place_plates
from centernet2.inference.skeleton import draw_skeleton
from centernet2.inference.tiles import PAPER, tile

__all__ = ["draw_comparison", "draw_instances", "draw_predictions", "tile"]

Picture = npt.NDArray[np.uint8]  # (H, W, 3), RGB

_MASK_OPACITY = 0.45


def line_width(height: int, width: int) -> int:
    """Width of the lines for an image of this size, in pixels: 1 at 64, 2 at 640, 20 at 6000."""
    return max(1, round(math.sqrt(height * width) / 300))


def font_size(height: int, width: int) -> int:
    """Size of the letters for an image of this size, in pixels: 9 at 64, 17 at 640, 113 at 6000."""
    return max(9, round(6 + math.sqrt(height * width) / 56))


def draw_instances(
    image: Picture,
    boxes: npt.NDArray[np.floating],
    masks: npt.NDArray[np.bool_] | None,
    labels: Sequence[str],
    colors: Sequence[Color],
    joints: npt.NDArray[np.floating] | None = None,
) -> Picture:
    """Draw objects on a copy of an image.

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        boxes: ``(N, 4)`` x0, y0, x1, y1 in pixels; parts outside the image are cut off.
        masks: ``(N, H, W)`` bool, or None.
        labels: N texts, "" for none. The first ones get the best places; in a crowd, one that
            could only be put over others is left out (the box has its colour still).
        colors: N ``(red, green, blue)``, 0-255.
        joints: ``(N, J, 3)`` of x, y in pixels and score, or None.

    Returns:
        ``(H, W, 3)`` uint8, RGB.

    Raises:
        ValueError: the number of boxes, masks, labels, colours and joints differ.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    optional = [len(part) for part in (masks, joints) if part is not None]
    counts = {len(boxes), len(labels), len(colors), *optional}
    if len(counts) != 1:
        raise ValueError(
            f"boxes, masks, labels, colors and joints differ in number: {sorted(counts)}"
        )
    height, width = image.shape[:2]
    canvas = np.array(image, dtype=np.uint8, order="C")
    line = line_width(height, width)

    boxes = np.nan_to_num(boxes).clip(0, [width, height, width, height])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-areas, kind="stable")  # small objects over large ones
    if masks is not None:
        for i in order:
            _fill_mask(canvas, masks[i], colors[i], line)
    for i in order:
        _draw_box(canvas, boxes[i], colors[i], line)
        if joints is not None:
            draw_skeleton(canvas, joints[i], colors[i], line)

    size = font_size(height, width)
    fitted = (fit_plate(text, size, c, (height, width)) for text, c in zip(labels, colors))
    plates = {i: plate for i, plate in enumerate(fitted) if plate is not None}
    sizes = [plate.shape[:2] for plate in plates.values()]
    spots = place_plates(boxes[list(plates)], sizes, (height, width))
    for plate, spot in reversed(list(zip(plates.values(), spots))):
        if spot is not None:
            paste(canvas, plate, *spot)
    return canvas


def _fill_mask(canvas: Picture, mask: npt.NDArray[np.bool_], color: Color, line: int) -> None:
    inside = np.ascontiguousarray(mask, dtype=np.uint8)
    x, y, w, h = cv2.boundingRect(inside)
    if w == 0:
        return
    part, region = inside[y : y + h, x : x + w], canvas[y : y + h, x : x + w]
    tinted = cv2.addWeighted(
        region, 1 - _MASK_OPACITY, np.full_like(region, color), _MASK_OPACITY, 0
    )
    cv2.copyTo(tinted, part, region)
    contours, _ = cv2.findContours(part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x, y))
    cv2.drawContours(canvas, contours, -1, color, max(1, line // 2), cv2.LINE_AA)


def _draw_box(canvas: Picture, box: npt.NDArray[np.floating], color: Color, line: int) -> None:
    height, width = canvas.shape[:2]
    inset = line // 2  # the whole line stays visible along the border
    x0, x1 = (min(max(round(v), inset), width - 1 - inset) for v in box[[0, 2]].tolist())
    y0, y1 = (min(max(round(v), inset), height - 1 - inset) for v in box[[1, 3]].tolist())
    cv2.rectangle(canvas, (x0, y0), (x1, y1), color, line)


def draw_predictions(
    image: Picture,
    predictions: Instances,
    names: Sequence[str],
    numbers: Sequence[int] | None = None,
) -> Picture:
    """Draw a model's output, or ground truth, with names and scores.

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        predictions: on the CPU, with ``pred_boxes``, ``pred_classes`` and optionally ``scores``,
            ``pred_masks``, ``pred_keypoints`` and ``track_ids`` (-1: none); or with ``gt_boxes``,
            ``gt_classes`` and optionally ``gt_masks`` and ``gt_keypoints`` (as
            :func:`detectron2.data.detection_utils.annotations_to_instances` makes them with
            ``mask_format="bitmask"``).
        names: name of each class; those beyond its end are called "class 3".
        numbers: N numbers that choose the colours; default: the class, or the order when the
            model has one class.

    Returns:
        ``(H, W, 3)`` uint8, RGB.
    """
    kind = "pred" if predictions.has("pred_boxes") else "gt"
    classes = predictions.get(f"{kind}_classes").tolist()
    texts = [names[c] if c < len(names) else f"class {c}" for c in classes]
    if predictions.has("scores"):
        # Rounded down to 99 %: "100%" would claim a certainty that the model does not.
        percents = [min(round(100 * s), 99) for s in predictions.scores.tolist()]
        texts = [f"{text} {p}%" for text, p in zip(texts, percents)]
    if predictions.has("track_ids"):
        ids = predictions.track_ids.tolist()
        texts = [f"#{number} {text}" if number >= 0 else text for number, text in zip(ids, texts)]
    masks = None
    if predictions.has(f"{kind}_masks"):
        masks = predictions.get(f"{kind}_masks")
        masks = torch.as_tensor(getattr(masks, "tensor", masks)).bool().numpy()
    if numbers is None:
        numbers = list(range(len(classes))) if len(names) == 1 else classes
    joints = None
    if predictions.has(f"{kind}_keypoints"):
        joints = predictions.get(f"{kind}_keypoints")
        joints = torch.as_tensor(getattr(joints, "tensor", joints)).numpy()
    boxes = predictions.get(f"{kind}_boxes").tensor.numpy()
    return draw_instances(image, boxes, masks, texts, [color_of(n) for n in numbers], joints)


def draw_comparison(
    image: Picture, predicted: Instances, ground_truth: Instances, names: Sequence[str]
) -> Picture:
    """Draw detections beside the ground truth, each with a caption.

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        predicted: see :func:`draw_predictions`.
        ground_truth: see :func:`draw_predictions`.
        names: name of each class.

    Returns:
        One picture, uint8 RGB: the two side by side, or one above the other for wide images.
    """
    pairs = (("detected", predicted), ("ground truth", ground_truth))
    panels = [
        _captioned(draw_predictions(image, objects, names), f"{caption}: {len(objects)}")
        for caption, objects in pairs
    ]
    return tile(panels, columns=1 if image.shape[1] > 2 * image.shape[0] else 2)


def _captioned(image: Picture, text: str) -> Picture:
    height, width = image.shape[:2]
    size = font_size(height, width)
    strip = np.full((2 * size, width, 3), PAPER, dtype=np.uint8)
    plate = fit_plate(text, size, PAPER, strip.shape[:2])
    if plate is not None:
        paste(strip, plate, (strip.shape[0] - plate.shape[0]) // 2, 0)
    return np.concatenate([strip, image])
