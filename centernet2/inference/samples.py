"""Detections beside the ground truth, for some images of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog
from detectron2.data.detection_utils import annotations_to_instances
from detectron2.structures import Instances

from centernet2.inference.drawing import draw_comparison
from centernet2.inference.images import enlarged, save_picture
from centernet2.inference.inputs import read_image
from centernet2.inference.predictor import Predictor
from centernet2.inference.tiles import tile

__all__ = ["draw_samples", "ground_truth"]


def draw_samples(
    predictor: Predictor, dataset_name: str, count: int, output: Path, columns: int = 3
) -> Path:
    """Draw what a model finds on images of a data set beside what is there.

    Args:
        predictor: the model, with a score threshold fit for drawing.
        dataset_name: a registered data set.
        count: number of images, evenly spread over the data set.
        output: picture file to write.
        columns: pairs in a row.

    Returns:
        ``output``.

    Raises:
        UserError: an image cannot be read, or ``output`` not be written.
    """
    records = DatasetCatalog.get(dataset_name)
    chosen = np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int)
    pictures = []
    for index in chosen:
        rgb = read_image(Path(records[index]["file_name"]))
        (found,) = predictor([rgb[:, :, ::-1]])
        picture, found = enlarged(rgb, found)
        _, truth = enlarged(rgb, ground_truth(records[index], rgb.shape[:2]))
        pictures.append(draw_comparison(picture, found, truth, predictor.class_names))
    save_picture(tile(pictures, columns), output)
    return output


def ground_truth(record: dict[str, Any], image_size: tuple[int, int]) -> Instances:
    """The objects of an image in the form of detections, without scores.

    Args:
        record: Detectron2's dict of the image; crowds are left out.
        image_size: (height, width).
    """
    annotations = [a for a in record["annotations"] if not a.get("iscrowd")]
    with_masks = bool(annotations) and all("segmentation" in a for a in annotations)
    if not with_masks:
        annotations = [{k: v for k, v in a.items() if k != "segmentation"} for a in annotations]
    given = annotations_to_instances(annotations, image_size, mask_format="bitmask")
    truth = Instances(image_size, pred_boxes=given.gt_boxes, pred_classes=given.gt_classes)
    if with_masks:
        truth.pred_masks = given.gt_masks.tensor
    return truth
