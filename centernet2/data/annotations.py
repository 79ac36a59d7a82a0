"""The annotations of an image through its transforms, all at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import BoxMode

__all__ = ["transform_annotations"]

Annotation = dict[str, Any]
Floats = npt.NDArray[np.float64]


def transform_annotations(
    annotations: Sequence[Annotation],
    transforms: T.TransformList,
    image_shape: tuple[int, int],
    keypoint_hflip_indices: Any = None,
) -> tuple[list[Annotation], Floats]:
    """What Detectron2's ``transform_instance_annotations`` makes of each annotation of an image.

    Whole numbers are treated as all others. (Detectron2 truncates boxes and polygons that are
    written in whole numbers after each transform.)

    Args:
        annotations: N in Detectron2's format; left as they are.
        transforms: those that the image went through.
        image_shape: height and width of the transformed image.
        keypoint_hflip_indices: see ``detection_utils.create_keypoint_hflip_indices``.

    Returns:
        The transformed annotations, whose ``bbox`` are arrays x0, y0, x1, y1 clipped to the image,
        and these boxes before clipping, ``(N, 4)``.

    Raises:
        ValueError: for a segmentation that is neither polygons nor RLE.
    """
    height, width = image_shape
    boxes = transforms.apply_box(_corners(annotations)).reshape(-1, 4)
    clipped = np.minimum(boxes.clip(min=0), [width, height, width, height])
    moved = [
        {**annotation, "bbox": box, "bbox_mode": BoxMode.XYXY_ABS}
        for annotation, box in zip(annotations, clipped)
    ]
    _move_polygons([a for a in moved if isinstance(a.get("segmentation"), list)], transforms)
    for annotation, original in zip(moved, annotations):
        if "segmentation" in original and not isinstance(original["segmentation"], list):
            detectron2s = utils.transform_instance_annotations(
                {key: original[key] for key in ("bbox", "bbox_mode", "segmentation")},
                transforms,
                image_shape,
            )
            annotation["segmentation"] = detectron2s["segmentation"]
        if "keypoints" in original:
            annotation["keypoints"] = utils.transform_keypoint_annotations(
                np.array(original["keypoints"], dtype=float),
                transforms,
                image_shape,
                keypoint_hflip_indices,
            )
    return moved, boxes


def _corners(annotations: Sequence[Annotation]) -> Floats:
    """The ``(N, 4)`` boxes x0, y0, x1, y1 of annotations of any mode."""
    boxes = [annotation["bbox"] for annotation in annotations]
    modes = [annotation["bbox_mode"] for annotation in annotations]
    if set(modes) == {BoxMode.XYWH_ABS} and all(isinstance(box, list) for box in boxes):
        # Detectron2 adds the numbers of a list in single precision.
        together = torch.tensor(boxes, dtype=torch.float32)
        return BoxMode.convert(together, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS).double().numpy()
    corners = [BoxMode.convert(box, mode, BoxMode.XYXY_ABS) for box, mode in zip(boxes, modes)]
    return np.array(corners, dtype=float).reshape(-1, 4)


def _move_polygons(annotations: Sequence[Annotation], transforms: T.TransformList) -> None:
    """Replace each ``segmentation``, a list of polygons x0, y0, x1, ... in any number format."""
    polygons = [
        [np.array(polygon, dtype=float).reshape(-1, 2) for polygon in annotation["segmentation"]]
        for annotation in annotations
    ]
    pointwise = all(
        type(t).apply_polygons is T.Transform.apply_polygons for t in transforms.transforms
    )
    if pointwise and any(polygons):
        points = transforms.apply_coords(np.concatenate([p for each in polygons for p in each]))
        ends = np.cumsum([len(polygon) for each in polygons for polygon in each])
        pieces = iter(np.split(points, ends[:-1]))
        polygons = [[next(pieces) for _ in each] for each in polygons]
    else:  # cropping cuts polygons, which may leave more of them or none
        polygons = [transforms.apply_polygons(each) for each in polygons]
    for annotation, each in zip(annotations, polygons):
        annotation["segmentation"] = [polygon.reshape(-1) for polygon in each]
