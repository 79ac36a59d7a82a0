#!/usr/bin/env python3
"""Time the evaluation engine against pycocotools and lvis-api, on drawn data.

python tools/benchmark_evaluation.py coco-box --images 5000 --detections 100 --rounds 3
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import logging
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
from lvis import LVIS, LVISEval, LVISResults
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from centernet2.data.lvis_compat import repair_lvis
from centernet2.evaluation.engine import evaluate_coco, evaluate_lvis

Records = list[dict[str, Any]]

WIDTH, HEIGHT, OBJECTS = 640, 480, 7
SIZES = {"coco-box": (5000, 100, 80), "coco-mask": (5000, 100, 80), "lvis-box": (2000, 300, 1203)}


def draw(images: int, detections: int, classes: int, masks: bool) -> tuple[dict[str, Any], Records]:
    """Truth of 7 objects an image, and detections of which a quarter are near one."""
    rng = np.random.default_rng(0)
    pictures: Records = []
    objects: Records = []
    found: Records = []
    for i in range(1, images + 1):
        own = rng.integers(1, classes + 1, OBJECTS)
        others = rng.choice(classes, 10, replace=False) + 1
        pictures.append(
            {
                "id": i,
                "width": WIDTH,
                "height": HEIGHT,
                "neg_category_ids": [int(c) for c in others if c not in own],
                "not_exhaustive_category_ids": [int(own[0])] if i % 10 == 0 else [],
            }
        )
        sides = rng.uniform(8, 300, (OBJECTS, 2))
        boxes = np.hstack([rng.uniform(0, 1, (OBJECTS, 2)) * ((WIDTH, HEIGHT) - sides), sides])
        for box, category in zip(boxes, own):
            objects.append(_record(i, int(category), box, masks))
            objects[-1].update(id=len(objects), iscrowd=0, area=float(box[2] * box[3]))
        near = rng.integers(0, OBJECTS, detections)
        hit = rng.random(detections) < 0.25
        shaken = boxes[near] * rng.normal(1, 0.05, (detections, 4))
        elsewhere = np.column_stack(
            [rng.uniform(0, 300, (detections, 2)), rng.uniform(8, 180, (detections, 2))]
        )
        named = np.where(hit, own[near], rng.choice([*own, *others], detections))
        for box, category in zip(np.where(hit[:, None], shaken, elsewhere), named):
            found.append(_record(i, int(category), box, masks))
            found[-1]["score"] = float(rng.random())
    categories = [
        {"id": c, "name": f"class {c}", "frequency": "rcf"[c % 3], "image_count": 5}
        for c in range(1, classes + 1)
    ]
    return {"images": pictures, "categories": categories, "annotations": objects}, found


def _record(image_id: int, category_id: int, box: Any, masks: bool) -> dict[str, Any]:
    record = {"image_id": image_id, "category_id": category_id, "bbox": box.tolist()}
    if masks:
        x, y, w, h = box
        corners = [x, y + h / 2, x + w / 2, y, x + w, y + h / 2, x + w / 2, y + h]
        rle = mask_util.merge(mask_util.frPyObjects([corners], HEIGHT, WIDTH))
        record["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode()}
    return record


def reference_coco(truth: dict[str, Any], found: Records, task: str) -> Any:
    """pycocotools' precision."""
    index = COCO()
    index.dataset = {"info": {}, **truth}
    index.createIndex()
    evaluation = COCOeval(index, index.loadRes(found), task)
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval["precision"]


def reference_lvis(truth: dict[str, Any], found: Records, task: str) -> Any:
    """lvis-api's precision."""
    index = LVIS.__new__(LVIS)
    index.logger, index.dataset = logging.getLogger(__name__), truth
    index._create_index()
    evaluation = LVISEval(index, LVISResults(index, found), task)
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval["precision"]


def main(arguments: list[str] | None = None) -> int:
    """Run interleaved rounds and print the medians.

    Returns:
        The exit status: 1 if the precisions differ by more than 1e-6.
    """
    parser = argparse.ArgumentParser(description="Time the evaluation engine.")
    parser.add_argument("case", choices=SIZES)
    parser.add_argument("--images", type=int, help="default: 5000; LVIS: 2000")
    parser.add_argument("--detections", type=int, help="of an image; default: 100; LVIS: 300")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    images, detections, classes = SIZES[options.case]
    images, detections = options.images or images, options.detections or detections
    family, kind = options.case.split("-")
    task = "segm" if kind == "mask" else "bbox"
    truth, found = draw(images, detections, classes, kind == "mask")
    if task == "segm":
        for detection in found:
            del detection["bbox"]
    repair_lvis()
    logging.disable(logging.WARNING)
    reference = reference_lvis if family == "lvis" else reference_coco
    engine = evaluate_lvis if family == "lvis" else evaluate_coco

    def fast(*problem: Any) -> Any:
        return engine(*problem).eval["precision"]

    seconds: dict[str, list[float]] = {"reference": [], "engine": []}
    difference = 0.0
    for number in range(1, options.rounds + 1):
        precisions = []
        runs: list[tuple[str, Callable[..., Any]]] = [("reference", reference), ("engine", fast)]
        for name, run in runs[:: 1 if number % 2 else -1]:
            problem = copy.deepcopy(truth), copy.deepcopy(found), task  # references write to them
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                precisions.append(run(*problem))
            seconds[name].append(time.perf_counter() - start)
            print(f"round {number} {name}: {seconds[name][-1]:.2f} s", flush=True)
        difference = max(difference, float(abs(precisions[0] - precisions[1]).max()))
    slow, quick = (statistics.median(seconds[name]) for name in ("reference", "engine"))
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, "
          f"Python {platform.python_version()}")  # fmt: skip
    print(f"{options.case}, {images} images x {detections} detections, {classes} classes: "
          f"reference {slow:.2f} s, engine {quick:.2f} s, {slow / quick:.1f} times as fast; "
          f"largest difference of a precision {difference:.1e}")  # fmt: skip
    return int(difference > 1e-6)


if __name__ == "__main__":
    raise SystemExit(main())
