"""All checks of one annotation file, or of train and val together."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from centernet2.data.coco_sections import SECTIONS
from centernet2.data.doctor.boxes import check_boxes
from centernet2.data.doctor.findings import Finding, Report
from centernet2.data.doctor.images import ImageState, check_images
from centernet2.data.doctor.keypoints import check_keypoints
from centernet2.data.doctor.leakage import check_leakage
from centernet2.data.doctor.lvis import check_lvis
from centernet2.data.doctor.masks import check_masks
from centernet2.data.doctor.structure import check_balance, check_ids, check_names
from centernet2.data.doctor.tables import Dataset, read_file, split_sections
from centernet2.errors import UserError

__all__ = ["check_annotations", "check_dataset"]

# Each looks at one aspect of a file and writes down what it finds.
CHECKS = (
    check_ids,
    check_names,
    check_balance,
    check_boxes,
    check_masks,
    check_keypoints,
    check_lvis,
)


def check_annotations(file: str, data: Any) -> tuple[Dataset | None, list[Finding]]:
    """Check parsed JSON without opening an image.

    Args:
        file: its name, for the findings.
        data: the parsed file.

    Returns:
        its tables (``None`` where it is not in COCO's format), and the findings.
    """
    reason = split_sections(data)
    if reason:
        return None, [Finding("not-coco", file, detail=reason)]
    dataset = Dataset(file, data)
    for check in CHECKS:
        check(dataset)
    return dataset, dataset.findings


def check_dataset(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str] | None = None,
    val_json: str | os.PathLike[str] | None = None,
    val_image_root: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Find what is wrong with a data set in COCO's or LVIS's format.

    Args:
        json_file: its annotations.
        image_root: folder of its images; ``None`` opens none.
        val_json: annotations of the validation set, which is checked too; with both folders of
            images, also whether its images are in the training set.
        val_image_root: folder of the validation set's images.
        progress: called with the number of images opened, and of all in that file.

    Raises:
        UserError: a file or folder is not there.
    """
    report = Report()
    train = _check_one(report, json_file, image_root, progress)
    if val_json is not None:
        val = _check_one(report, val_json, val_image_root, progress)
        if train is not None and val is not None:
            known = len(val[0].findings)
            check_leakage(train[0], train[1], val[0], val[1])
            report.findings += val[0].findings[known:]
    return report


def _check_one(
    report: Report,
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str] | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[Dataset, dict[int, ImageState]] | None:
    path = Path(json_file)
    if image_root is not None and not Path(image_root).is_dir():
        raise UserError(f"{image_root} is no folder: name the folder of the images of {path}")
    data, reason = read_file(path)
    if reason:
        report.findings.append(Finding("json-unreadable", str(path), detail=reason))
        return None
    dataset, findings = check_annotations(str(path), data)
    states: dict[int, ImageState] = {}
    if dataset is not None:
        report.sizes[str(path)] = {section: len(data[section]) for section in SECTIONS}
        if image_root is not None:
            states = check_images(dataset, Path(image_root), progress)
    report.findings += findings
    return None if dataset is None else (dataset, states)
