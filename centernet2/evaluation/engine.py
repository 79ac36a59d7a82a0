"""Matching detections with the truth: hotcoco's compiled engine behind the reference's classes.

hotcoco does the work; its arrays are put into the reference's own objects (pycocotools, lvis),
which then summarise and print as they always do. Where hotcoco differs from the reference on
purpose, the reference does the work: see :func:`_deviates` and docs/EVALUATION.md.
"""

from __future__ import annotations

import logging
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pycocotools.mask as mask_util
from detectron2.evaluation.coco_evaluation import COCOevalMaxDets
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from centernet2.data.lvis_compat import repair_lvis
from centernet2.errors import UserError

try:
    import hotcoco
except ImportError:  # Python 3.9, and machines it has no wheel for: the reference does the work
    hotcoco = None  # type: ignore[assignment]

__all__ = ["evaluate_coco", "evaluate_lvis"]

Record = Mapping[str, Any]
Areas = Mapping[str, Sequence[float]]

_GEOMETRY = {
    "bbox": ("bbox",),
    "segm": ("segmentation",),
    "keypoints": ("bbox", "keypoints"),
}


_IMAGE_KEYS = ("id", "width", "height", "neg_category_ids", "not_exhaustive_category_ids")
_CATEGORY_KEYS = ("id", "name", "frequency")


def evaluate_coco(
    truth: Record,
    found: Sequence[Record],
    task: str,
    *,
    ious: npt.ArrayLike | None = None,
    max_dets: Sequence[int] | None = None,
    sigmas: Sequence[float] = (),
    image_ids: Sequence[int] | None = None,
    areas: Areas | None = None,
) -> COCOeval:
    """Evaluate detections as pycocotools does.

    Args:
        truth: a COCO annotation file's content. "iscrowd" may be missing (then 0), "area" too
            (then the box's), "num_keypoints" too (then those of visibility 1 and 2).
        found: detections in COCO's result format, as many as you like, none too. The area of a
            mask is its own, that of keypoints the box's where there is one.
        task: "bbox", "segm" or "keypoints".
        ious: ``(T,)`` thresholds; default: 0.5, 0.55, ... 0.95.
        max_dets: ``(M,)`` limits of detections an image; default: 1, 10, 100 (keypoints: 20).
        sigmas: of the keypoints' similarity; default: those of COCO's 17.
        image_ids: the images that count; default: all.
        areas: A names and ranges ``[least, most]`` of objects' areas in square pixels; default:
            all, small, medium, large.

    Returns:
        pycocotools' object after ``accumulate()``, before ``summarize()``: ``eval["precision"]``
        is ``(T, 101, K, A, M)``, ``eval["recall"]`` ``(T, K, A, M)``, K categories by rising id,
        -1 where there is no truth.

    Raises:
        UserError: for a detection on an image that the truth does not know, and for truth without
            the masks or keypoints that the task asks for.
    """
    _check_images(truth, found)
    dataset = _truth(truth, task)
    custom = max_dets is not None and len(max_dets) > 2 and max_dets[2] != 100
    evaluation = (COCOevalMaxDets if custom else COCOeval)(iouType=task)
    params = evaluation.params
    params.imgIds = sorted(image["id"] for image in truth["images"])
    params.catIds = sorted(category["id"] for category in truth["categories"])
    if image_ids is not None:
        params.imgIds = sorted(set(image_ids))
    if ious is not None:
        params.iouThrs = np.asarray(ious, dtype=float)
    if max_dets is not None:
        params.maxDets = sorted(max_dets)
    if len(sigmas):
        params.kpt_oks_sigmas = np.asarray(sigmas, dtype=float)
    if areas is not None:
        params.areaRngLbl, params.areaRng = list(areas), [list(r) for r in areas.values()]

    if _deviates(dataset["annotations"]):
        evaluation.cocoGt = COCO()
        evaluation.cocoGt.dataset = dataset
        evaluation.cocoGt.createIndex()
        evaluation.cocoDt = _reference_detections(evaluation.cocoGt, _found(found, task))
        evaluation.evaluate()
        evaluation.accumulate()
        return evaluation

    engine_truth = hotcoco.COCO(dataset)
    engine = hotcoco.COCOeval(engine_truth, _load(engine_truth, found, task), task)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other thresholds than COCO's are meant
        engine.params.imgIds = params.imgIds
        engine.params.iouThrs = params.iouThrs.tolist()
        engine.params.maxDets = list(params.maxDets)
        engine.params.areaRng = params.areaRng
        engine.params.areaRngLbl = params.areaRngLbl
        if task == "keypoints":
            engine.params.kpt_oks_sigmas = params.kpt_oks_sigmas.tolist()
        engine.evaluate()
        engine.accumulate()
    evaluation.eval = {"params": params, **_arrays(engine, ("precision", "recall", "scores"))}
    return evaluation


def evaluate_lvis(
    truth: Record,
    found: Sequence[Record],
    task: str,
    *,
    ious: npt.ArrayLike | None = None,
    max_dets: int = 300,
    areas: Areas | None = None,
) -> Any:
    """Evaluate detections as lvis-api does, by LVIS's federated rules.

    Args:
        truth: an LVIS annotation file's content.
        found: detections in COCO's result format, at least one.
        task: "bbox" or "segm".
        ious: as :func:`evaluate_coco`.
        max_dets: those of highest score that count in an image.
        areas: as :func:`evaluate_coco`.

    Returns:
        lvis-api's ``LVISEval`` after ``accumulate()``, before ``summarize()``:
        ``eval["precision"]`` is ``(T, 101, K, A)``, ``eval["recall"]`` ``(T, K, A)``, -1 where
        there is no truth.

    Raises:
        UserError: as :func:`evaluate_coco`.
    """
    from lvis import LVIS, LVISEval, LVISResults
    from lvis.eval import Params

    _check_images(truth, found)
    dataset = _truth(truth, task)
    limited = LVISResults.limit_dets_per_image(None, _found(found, task), max_dets)
    evaluation = LVISEval.__new__(LVISEval)
    params = Params(task)
    if ious is not None:
        params.iou_thrs = np.asarray(ious, dtype=float)
    if areas is not None:
        params.area_rng_lbl, params.area_rng = list(areas), [list(r) for r in areas.values()]
    if _deviates(dataset["annotations"], ignorable=True):
        repair_lvis()
        reference_truth = _lvis_index(LVIS, dataset)
        evaluation.__init__(reference_truth, LVISResults(reference_truth, limited, -1), task)
        for name in ("iou_thrs", "area_rng", "area_rng_lbl"):
            setattr(evaluation.params, name, getattr(params, name))
        evaluation.evaluate()
        evaluation.accumulate()
        return evaluation

    # lvis-api never sees what has no area; hotcoco would count it
    dataset["annotations"] = [o for o in dataset["annotations"] if o["area"] > 0]
    limited = [d for d in limited if _area(d) > 0]
    engine_truth = hotcoco.COCO(dataset)
    detections = hotcoco.LVISResults(engine_truth, _columns(limited, task), max_dets=-1)
    engine = hotcoco.LVISEval(engine_truth, detections, task)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other thresholds than LVIS's are meant
        engine.params.iouThrs = params.iou_thrs.tolist()
        engine.params.areaRng = [list(map(float, r)) for r in params.area_rng]
        engine.params.areaRngLbl = params.area_rng_lbl
        engine.evaluate()
        engine.accumulate()

    evaluation.params = params
    evaluation.params.img_ids = sorted(image["id"] for image in truth["images"])
    categories = sorted(truth["categories"], key=lambda category: category["id"])
    evaluation.params.cat_ids = [category["id"] for category in categories]
    evaluation.freq_groups = [
        [i for i, category in enumerate(categories) if category["frequency"] == label]
        for label in evaluation.params.img_count_lbl
    ]
    arrays = _arrays(engine, ("precision", "recall"))
    evaluation.eval = {name: array[..., 0] for name, array in arrays.items()}
    evaluation.results = OrderedDict()
    return evaluation


def _deviates(objects: Sequence[Record], ignorable: bool = False) -> bool:
    """Whether the reference must do the work.

    The references take a match with the annotation of id 0 for no match; hotcoco mends that.
    lvis-api honours "ignore", which hotcoco's LVIS rules do not.
    """
    if hotcoco is None or any(o["id"] == 0 for o in objects):
        return True
    return ignorable and any(o.get("ignore") for o in objects)


def _check_images(truth: Record, found: Sequence[Record]) -> None:
    strangers = {d["image_id"] for d in found} - {image["id"] for image in truth["images"]}
    if strangers:
        raise UserError(
            f"The results speak of {len(strangers)} images that the annotations do not have, "
            f"the first of them with id {min(strangers)}: name the annotation file of the data "
            "set that was evaluated."
        )


def _truth(truth: Record, task: str) -> dict[str, Any]:
    """The data set with what the task needs of its annotations, as new dicts."""
    objects = []
    for annotation in truth.get("annotations", ()):
        lacks = [k for k in _GEOMETRY[task] if k not in annotation]
        if lacks:
            raise UserError(
                f"Annotation {annotation['id']} has no '{lacks[0]}', so '{task}' cannot be "
                "evaluated: evaluate another task, or complete the annotation file."
            )
        own = {k: annotation[k] for k in ("id", "image_id", "category_id", "bbox")}
        own.update({k: annotation[k] for k in (*_GEOMETRY[task], "ignore") if k in annotation})
        own["iscrowd"] = int(annotation.get("iscrowd", 0))
        area = annotation.get("area")
        own["area"] = own["bbox"][2] * own["bbox"][3] if area is None else area
        if task == "keypoints":
            visible = sum(v > 0 for v in annotation["keypoints"][2::3])
            own["num_keypoints"] = annotation.get("num_keypoints", visible)
        objects.append(own)
    return {
        "info": {},
        "images": _parts(truth["images"], _IMAGE_KEYS),
        "categories": _parts(truth["categories"], _CATEGORY_KEYS),
        "annotations": objects,
    }


def _parts(records: Sequence[Record], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Records without what evaluation does not read: hotcoco refuses odd values anywhere."""
    return [{k: record[k] for k in keys if k in record} for record in records]


def _found(found: Sequence[Record], task: str) -> list[dict[str, Any]]:
    # Without its box a mask is measured by its own area
    keys = ("image_id", "category_id", "score", *_GEOMETRY[task])
    return _parts(found, keys)


def _area(detection: Record) -> float:
    if "bbox" in detection:
        return float(detection["bbox"][2] * detection["bbox"][3])
    return float(mask_util.area(detection["segmentation"]))


def _columns(found: Sequence[Record], task: str) -> Any:
    """Boxes as the array ``(N, 7)`` that is read fastest; masks and keypoints as they are."""
    if task != "bbox":
        return found
    rows = [(d["image_id"], *d["bbox"], d["score"], d["category_id"]) for d in found]
    return np.array(rows, dtype=float).reshape(-1, 7)


def _load(truth: Any, found: Sequence[Record], task: str) -> Any:
    return truth.load_res(_columns(found, task) if task == "bbox" else _found(found, task))


def _arrays(engine: Any, names: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
    return {name: np.asarray(engine.eval[name], dtype=float) for name in names}


def _reference_detections(truth: COCO, found: list[dict[str, Any]]) -> COCO:
    if found:
        return truth.loadRes(found)
    none = COCO()  # loadRes fails on an empty list
    none.dataset = {**truth.dataset, "annotations": []}
    none.createIndex()
    return none


def _lvis_index(kind: Any, dataset: dict[str, Any]) -> Any:
    """lvis-api's data set of a file's content; its constructor takes a path only."""
    index = kind.__new__(kind)
    index.logger, index.dataset = logging.getLogger(kind.__module__), dataset
    index._create_index()
    return index
