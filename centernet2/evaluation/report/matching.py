"""What each detection hit: true positives, and the kinds of error as TIDE defines them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

__all__ = ["ERROR_KINDS", "Matches", "match"]

# The order in which they are tried, as in TIDE: a detection has the first that applies.
ERROR_KINDS = ("localisation", "classification", "duplicate", "background", "both")
HIT, IGNORED = -1, -2


@dataclass
class Matches:
    """Detections and objects of a whole set; classes are indices into the sorted category ids.

    Attributes:
        scores: ``(D,)``.
        kinds: ``(D,)`` index into ``ERROR_KINDS``; -1 a true positive, -2 on a crowd (ignored).
        missed: objects that are not found, nor the target of a localisation or class error.
        confusion: ``(K + 1, K + 1)`` counts, rows the truth, columns the detection, the last ones
            background. Pairs regardless of the class, best score first.
    """

    scores: npt.NDArray[np.float64]
    kinds: npt.NDArray[np.int64]
    missed: int
    confusion: npt.NDArray[np.int64]


def match(
    truth: COCO,
    found: Sequence[dict[str, Any]],
    threshold: float = 0.0,
    iou_found: float = 0.5,
    iou_background: float = 0.1,
) -> Matches:
    """Match boxes image by image, at most 100 detections each, best scores first.

    Args:
        truth: ground truth; crowds count neither for nor against.
        found: detections in COCO's format.
        threshold: lowest score of a detection that takes part.
        iou_found: overlap of a detection that hits its object.
        iou_background: overlap up to which a detection has nothing to do with an object.
    """
    ids = sorted(truth.cats)
    index = {category: i for i, category in enumerate(ids)}
    confusion = np.zeros((len(ids) + 1, len(ids) + 1), dtype=np.int64)
    by_image = defaultdict(list)
    for detection in found:
        if detection["score"] >= threshold:
            by_image[detection["image_id"]].append(detection)
    scores: list[float] = []
    kinds: list[int] = []
    missed = 0
    for image in truth.imgs:
        detections = sorted(by_image[image], key=lambda d: -d["score"])[:100]
        objects = truth.imgToAnns.get(image, [])
        plain = [o for o in objects if not o["iscrowd"]]
        crowds = [o for o in objects if o["iscrowd"]]
        dc = np.array([index[d["category_id"]] for d in detections], dtype=int)
        oc = np.array([index[o["category_id"]] for o in plain], dtype=int)
        overlaps = _overlaps(detections, plain)
        same = dc[:, None] == oc[None]
        taken = _assign(np.where(same, overlaps, -1.0), iou_found)
        on_crowd = (_overlaps(detections, crowds) >= iou_found) & (
            dc[:, None] == np.array([index[o["category_id"]] for o in crowds], dtype=int)[None]
        )
        image_kinds, covered = _kinds(overlaps, same, taken, iou_found, iou_background)
        crowded = on_crowd.any(axis=1)
        image_kinds[crowded & (taken < 0)] = IGNORED
        scores += [d["score"] for d in detections]
        kinds += image_kinds.tolist()
        missed += int((~covered).sum())

        counted = ~(crowded & (taken < 0))
        pairs = _assign(np.where(counted[:, None], overlaps, -1.0), iou_found)
        rows = np.where(pairs >= 0, oc[pairs] if len(oc) else 0, len(ids))
        np.add.at(confusion, (rows[counted], dc[counted]), 1)
        lost = np.setdiff1d(np.arange(len(oc)), pairs)
        np.add.at(confusion, (oc[lost], np.full(len(lost), len(ids))), 1)
    return Matches(np.array(scores, dtype=float), np.array(kinds, dtype=int), missed, confusion)


def _overlaps(
    detections: Sequence[dict[str, Any]], objects: Sequence[dict[str, Any]]
) -> npt.NDArray[np.float64]:
    if not detections or not objects:
        return np.zeros((len(detections), len(objects)))
    boxes = [np.array([d["bbox"] for d in side], dtype=float) for side in (detections, objects)]
    crowd = [int(o["iscrowd"]) for o in objects]
    return np.asarray(mask_api.iou(*boxes, crowd))


def _assign(overlaps: npt.NDArray[np.float64], least: float) -> npt.NDArray[np.int64]:
    """Each row in turn takes the free column of largest overlap; -1 if none reaches ``least``."""
    free, result = overlaps.copy(), np.full(len(overlaps), -1, dtype=np.int64)
    if overlaps.shape[1]:
        for i in range(len(overlaps)):
            best = int(free[i].argmax())
            if free[i, best] >= least:
                result[i] = best
                free[:, best] = -1
    return result


def _kinds(
    overlaps: npt.NDArray[np.float64],
    same: npt.NDArray[np.bool_],
    taken: npt.NDArray[np.int64],
    found: float,
    background: float,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Kinds ``(D,)`` of the detections, and ``(G,)`` whether an object is found or explained."""
    count, objects = overlaps.shape
    covered = np.zeros(objects, dtype=bool)
    covered[taken[taken >= 0]] = True
    if objects == 0:
        return np.full(count, ERROR_KINDS.index("background")), covered
    own, other = np.where(same, overlaps, 0.0), np.where(same, 0.0, overlaps)
    best_own, best_other = own.max(axis=1), other.max(axis=1)
    conditions = [
        taken >= 0,
        (best_own >= background) & (best_own < found),
        best_other >= found,
        best_own >= found,
        np.maximum(best_own, best_other) <= background,
    ]
    kinds = np.select(conditions, [HIT, 0, 1, 2, 3], default=4)
    covered[own.argmax(axis=1)[kinds == 0]] = True
    covered[other.argmax(axis=1)[kinds == 1]] = True
    return kinds, covered
