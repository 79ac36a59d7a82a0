"""What each detection hit: true positives, and the kinds of error as TIDE defines them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np
import numpy.typing as npt
from pycocotools import mask as mask_api

from centernet2.evaluation.report.files import Detections
from centernet2.evaluation.report.masks import encode_mask

__all__ = ["ERROR_KINDS", "HIT", "IGNORED", "Matches", "match"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Regions = Union[Floats, list[dict[str, Any]]]  # boxes (N, 4), or N run-length masks

# The order in which they are tried, as in TIDE: a detection has the first that applies.
ERROR_KINDS = ("localisation", "classification", "duplicate", "background", "both")
HIT, IGNORED = -1, -2


@dataclass
class Matches:
    """D detections, image by image and the best scores first, and G objects that are no crowds.

    Attributes:
        image_ids: ``(I,)`` ascending; images are indices into it, classes are those of
            :class:`Detections`.
        image: ``(D,)``.
        label: ``(D,)`` classes.
        score: ``(D,)``.
        index: ``(D,)`` places in the results file.
        kind: ``(D,)`` index into ``ERROR_KINDS``; -1 a true positive; -2 ignored: on a crowd, or
            of a class whose objects are not all annotated in the image.
        target: ``(D,)`` the object that is found, or that a localisation or classification error
            lies on; else -1.
        pair: ``(D,)`` the object that is found if classes do not count; else -1.
        object_image: ``(G,)``.
        object_label: ``(G,)``.
    """

    image_ids: list[int]
    image: Integers
    label: Integers
    score: Floats
    index: Integers
    kind: Integers
    target: Integers
    pair: Integers
    object_image: Integers
    object_label: Integers

    def correctness(self) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Scores of the detections that are not ignored, and whether they are true positives."""
        counted = self.kind != IGNORED
        return self.score[counted], self.kind[counted] == HIT

    def labels_of_errors(self, threshold: float = -np.inf) -> dict[str, Integers]:
        """Classes of the errors of each kind by detections of such scores, and of missed objects.

        The class is the detection's; that of a missed object is its own.
        """
        kept = self.score >= threshold
        labels = {n: self.label[kept & (self.kind == i)] for i, n in enumerate(ERROR_KINDS)}
        return {**labels, "missed": self.object_label[self.missed(threshold)]}

    def errors(self, threshold: float = -np.inf) -> dict[str, int]:
        """Number of errors of each kind, and of missed objects, by detections of such scores.

        "false positives" are all errors, "false negatives" all objects without a true positive.
        """
        counts = {kind: len(labels) for kind, labels in self.labels_of_errors(threshold).items()}
        hits = int(((self.score >= threshold) & (self.kind == HIT)).sum())
        counts["false positives"] = sum(counts[kind] for kind in ERROR_KINDS)
        counts["false negatives"] = len(self.object_label) - hits
        return counts

    def missed(self, threshold: float = -np.inf) -> npt.NDArray[np.bool_]:
        """``(G,)`` objects that are neither found nor the target of an error."""
        missed = np.ones(len(self.object_label), dtype=bool)
        missed[self.target[(self.score >= threshold) & (self.target >= 0)]] = False
        return missed

    def confusion(self, classes: int, threshold: float) -> Integers:
        """Counts ``(K + 1, K + 1)``, rows the truth, columns the detection, the last background."""
        counts = np.zeros((classes + 1, classes + 1), dtype=np.int64)
        kept = (self.score >= threshold) & (self.kind != IGNORED)
        pair = self.pair[kept]
        rows = np.full(len(pair), classes)
        rows[pair >= 0] = self.object_label[pair[pair >= 0]]
        np.add.at(counts, (rows, self.label[kept]), 1)
        lost = np.setdiff1d(np.arange(len(self.object_label)), pair)
        np.add.at(counts[:, classes], self.object_label[lost], 1)
        return counts


def match(
    data: Detections, task: str = "bbox", *, found: float = 0.5, background: float = 0.1
) -> Matches:
    """Match image by image, best scores first.

    As in the figures of average precision, at most 100 detections of a class in an image count
    (LVIS: 300 of all classes), and crowds count neither for nor against. By LVIS's rules a
    detection of a class that was not looked for in the image is left out.

    Args:
        data: from :func:`centernet2.evaluation.report.files.load_files`.
        task: "bbox" or "segm".
        found: overlap of a detection that hits its object.
        background: overlap up to which a detection has nothing to do with an object.
    """
    images = sorted(data.truth["images"], key=lambda image: image["id"])
    image_ids = [image["id"] for image in images]
    objects = [o for o in data.truth["annotations"] if not o["iscrowd"]]
    crowds = [o for o in data.truth["annotations"] if o["iscrowd"]]
    objects_of, crowds_of = (_Side(part, data, images, task) for part in (objects, crowds))
    every = _Side(data.found, data, images, task)
    every.keep(_counted(every, data, images))
    unfinished = _unfinished(data, images)

    kind = np.full(len(every.label), IGNORED)
    target, pair = np.full(len(kind), -1), np.full(len(kind), -1)
    for i in range(len(images)):
        at, of, on = every.slice(i), objects_of.slice(i), crowds_of.slice(i)
        if at.start == at.stop:
            continue
        labels = every.label[at]
        overlaps = _overlaps(every.regions[at], objects_of.regions[of], crowd=False)
        same = labels[:, None] == objects_of.label[of][None]
        taken = _assign(np.where(same, overlaps, -1.0), found)
        kinds, targets = _kinds(overlaps, same, taken, found, background)
        ignored = np.isin(labels, unfinished.get(i, ()))
        if on.start < on.stop:
            covered = _overlaps(every.regions[at], crowds_of.regions[on], crowd=True) >= found
            own = labels[:, None] == crowds_of.label[on][None]
            ignored |= (covered & own).any(axis=1)
        ignored &= taken < 0
        kinds[ignored], targets[ignored] = IGNORED, -1
        pairs = _assign(np.where(ignored[:, None], -1.0, overlaps), found)
        kind[at] = kinds
        target[at] = np.where(targets >= 0, targets + of.start, -1)
        pair[at] = np.where(pairs >= 0, pairs + of.start, -1)
    return Matches(
        image_ids=image_ids,
        image=every.image,
        label=every.label,
        score=every.score,
        index=every.index,
        kind=kind,
        target=target,
        pair=pair,
        object_image=objects_of.image,
        object_label=objects_of.label,
    )


class _Side:
    """Detections or objects, image by image, best scores first."""

    def __init__(
        self,
        records: Sequence[dict[str, Any]],
        data: Detections,
        images: Sequence[dict[str, Any]],
        task: str,
    ) -> None:
        place = {image["id"]: i for i, image in enumerate(images)}
        class_of = {category["id"]: k for k, category in enumerate(data.categories)}
        self.image = np.array([place[r["image_id"]] for r in records], dtype=np.int64)
        self.label = np.array([class_of[r["category_id"]] for r in records], dtype=np.int64)
        self.score = np.array([r.get("score", 1) for r in records], dtype=np.float64)
        self.index = np.arange(len(records))
        self._images = len(images)
        if task == "bbox":
            boxes = np.array([r["bbox"] for r in records], dtype=np.float64)
            self.regions: Any = boxes.reshape(-1, 4)
        else:
            self.regions = np.empty(len(records), dtype=object)
            for i, record in enumerate(records):
                image = images[self.image[i]]
                shape = encode_mask(record["segmentation"], image["height"], image["width"])
                self.regions[i] = shape
        self.keep(np.lexsort((-self.score, self.image)))

    def keep(self, chosen: npt.NDArray[Any]) -> None:
        """Keep what an index or a mask chooses."""
        self.image, self.label = self.image[chosen], self.label[chosen]
        self.score, self.index = self.score[chosen], self.index[chosen]
        self.regions = self.regions[chosen]
        self._starts = np.searchsorted(self.image, np.arange(self._images + 1))

    def slice(self, image: int) -> slice:
        return slice(int(self._starts[image]), int(self._starts[image + 1]))


def _counted(every: _Side, data: Detections, images: Sequence[Any]) -> npt.NDArray[np.bool_]:
    """``(D,)`` detections that take part."""
    if not data.federated:
        return _rank(every.image * len(data.categories) + every.label) < 100
    class_of = {category["id"]: k for k, category in enumerate(data.categories)}
    place = {image["id"]: i for i, image in enumerate(images)}
    looked_for = np.zeros((len(images), len(data.categories)), dtype=bool)
    for i, image in enumerate(images):
        known = [class_of[c] for c in image["neg_category_ids"] if c in class_of]
        looked_for[i, known] = True
    for o in data.truth["annotations"]:
        looked_for[place[o["image_id"]], class_of[o["category_id"]]] = True
    return (_rank(every.image) < 300) & looked_for[every.image, every.label]


def _rank(groups: Integers) -> Integers:
    """``(N,)`` number of earlier entries of the same group."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.searchsorted(ordered, ordered)
    rank = np.empty(len(groups), dtype=np.int64)
    rank[order] = np.arange(len(groups)) - starts
    return rank


def _unfinished(data: Detections, images: Sequence[Any]) -> dict[int, list[int]]:
    """Classes of which an image may have more objects than are annotated."""
    if not data.federated:
        return {}
    class_of = {category["id"]: k for k, category in enumerate(data.categories)}
    return {
        i: [class_of[c] for c in image.get("not_exhaustive_category_ids", ()) if c in class_of]
        for i, image in enumerate(images)
    }


def _overlaps(detections: Regions, objects: Regions, *, crowd: bool) -> Floats:
    if not len(detections) or not len(objects):
        return np.zeros((len(detections), len(objects)))
    if not (isinstance(detections, np.ndarray) and detections.dtype == float):
        detections, objects = list(detections), list(objects)
    return np.asarray(mask_api.iou(detections, objects, [int(crowd)] * len(objects)))


def _assign(overlaps: Floats, least: float) -> Integers:
    """Each row in turn takes the free column of largest overlap; -1 if none reaches ``least``."""
    free, result = overlaps.copy(), np.full(len(overlaps), -1, dtype=np.int64)
    columns = overlaps.shape[1]
    for i in np.flatnonzero((overlaps >= least).any(axis=1)):
        best = columns - 1 - int(free[i, ::-1].argmax())  # of equal ones the last, as pycocotools
        if free[i, best] >= least:
            result[i] = best
            free[:, best] = -1
    return result


def _kinds(
    overlaps: Floats, same: npt.NDArray[np.bool_], taken: Integers, found: float, background: float
) -> tuple[Integers, Integers]:
    """Kinds ``(D,)`` of the detections, and ``(D,)`` the objects that they find or lie on."""
    count, objects = overlaps.shape
    if objects == 0:
        return np.full(count, ERROR_KINDS.index("background")), np.full(count, -1)
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
    on = np.select(conditions[:3], [taken, own.argmax(axis=1), other.argmax(axis=1)], default=-1)
    return kinds, on
