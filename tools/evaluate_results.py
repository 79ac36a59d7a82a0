#!/usr/bin/env python3
"""Measure detections in a COCO results file.

python tools/evaluate_results.py results.json --annotations val.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog

from centernet2.data.json_file import read_json
from centernet2.errors import UserError
from centernet2.evaluation.engine import evaluate_coco, evaluate_lvis


def annotations_of(dataset: str) -> Path:
    """The annotation file of a registered data set.

    Raises:
        UserError: if no data set of that name has one.
    """
    import centernet2  # noqa: F401  registers the data sets

    file = MetadataCatalog.get(dataset).get("json_file")
    if file is None:
        raise UserError(
            f"'{dataset}' is no registered data set with an annotation file: name the file with "
            "--annotations."
        )
    return Path(file)


def evaluate(truth: Any, found: Any) -> None:
    """Print the reference's table for every task that both files speak of.

    Raises:
        UserError: if the files are not COCO's.
    """
    if not isinstance(found, list) or not found or not isinstance(found[0], dict):
        raise UserError("The results are not a list of detections, or an empty one.")
    if not isinstance(truth, dict) or not {"images", "annotations", "categories"} <= truth.keys():
        raise UserError("The annotations lack 'images', 'annotations' or 'categories'.")
    lvis = all("neg_category_ids" in image for image in truth["images"])
    for task, key in (("bbox", "bbox"), ("segm", "segmentation"), ("keypoints", "keypoints")):
        if not all(key in d for d in found) or not all(key in a for a in truth["annotations"]):
            continue
        if lvis and task == "keypoints":
            continue
        print(f"{task}:")
        evaluation = (evaluate_lvis if lvis else evaluate_coco)(truth, found, task)
        evaluation.summarize()
        if lvis:
            evaluation.print_results()


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and print the figures.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="Measure detections in a COCO results file.")
    parser.add_argument("results", type=Path, help="COCO or LVIS results file")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dataset", help="name of a registered data set")
    source.add_argument("--annotations", type=Path, help="COCO or LVIS annotation file")
    options = parser.parse_args(arguments)
    try:
        file = options.annotations or annotations_of(options.dataset)
        evaluate(read_json(file), read_json(options.results))
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
