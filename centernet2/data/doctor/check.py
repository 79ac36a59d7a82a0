"""All checks of one annotation file, or of train and val together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from centernet2.data.doctor.boxes import check_boxes
from centernet2.data.doctor.findings import Finding, Report
from centernet2.data.doctor.keypoints import check_keypoints
from centernet2.data.doctor.lvis import check_lvis
from centernet2.data.doctor.masks import check_masks
from centernet2.data.doctor.structure import check_balance, check_ids, check_names
from centernet2.data.doctor.tables import SECTIONS, Dataset, read_json, split_sections

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


def check_dataset(json_file: str | os.PathLike[str]) -> Report:
    """Find what is wrong with a data set in COCO's or LVIS's format.

    Args:
        json_file: its annotations.

    Raises:
        UserError: the file is not there.
    """
    report = Report()
    path = Path(json_file)
    data, reason = read_json(path)
    if reason:
        report.findings.append(Finding("json-unreadable", str(path), detail=reason))
        return report
    dataset, findings = check_annotations(str(path), data)
    report.findings += findings
    if dataset is not None:
        report.sizes[str(path)] = {section: len(data[section]) for section in SECTIONS}
    return report
