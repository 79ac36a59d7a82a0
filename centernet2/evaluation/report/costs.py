"""What each kind of error costs: how far AP at one IoU would rise if that kind were mended."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from centernet2.evaluation.report.matching import ERROR_KINDS, HIT, IGNORED, Matches

__all__ = ["average_precision", "error_costs"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# Mended by becoming true: the object that they lie on is there to be found
_MOVED = [ERROR_KINDS.index(kind) for kind in ("localisation", "classification")]
_RECALLS = np.linspace(0, 1, 101)


def error_costs(matches: Matches, classes: int) -> dict[str, float]:
    """AP at the matches' IoU, and the rise of it (dAP) for each kind of error, in percent.

    As in TIDE, one kind at a time is mended. An object that nothing finds belongs to the error of
    highest score, localisation or classification, that lies on it: this one becomes a true positive
    of the object's class when its kind is mended, others of the kind go. Duplicates, background and
    "both" go. Missed objects go: they no longer count as objects. "false positives" are all errors
    gone; "false negatives" are all objects gone that nothing finds. A class that has no objects
    left counts as 0 still.

    Args:
        matches: from :func:`centernet2.evaluation.report.matching.match`.
        classes: K, their number.

    Returns:
        "AP" and the rises: the kinds of ``ERROR_KINDS``, "missed", "false positives", "false
        negatives". NaN where AP is not defined.
    """
    order = np.lexsort((-matches.score,))
    order = order[matches.kind[order] != IGNORED]
    label, kind, target = matches.label[order], matches.kind[order], matches.target[order]
    hit = kind == HIT
    objects = np.bincount(matches.object_label, minlength=classes)
    is_found = np.zeros(len(matches.object_label), dtype=bool)
    is_found[target[hit]] = True
    base = average_precision(label, hit, objects)

    claims = np.flatnonzero(np.isin(kind, _MOVED) & ~is_found[target])
    _, first = np.unique(target[claims], return_index=True)
    owner = np.zeros(len(kind), dtype=bool)
    owner[claims[first]] = True

    costs = {"AP": base}
    for i, name in enumerate(ERROR_KINDS):
        mended = owner & (kind == i)
        kept = (kind != i) | mended
        labels = label.copy()
        labels[mended] = matches.object_label[target[mended]]
        costs[name] = average_precision(labels[kept], (hit | mended)[kept], objects) - base
    missed = np.bincount(matches.object_label[matches.missed()], minlength=classes)
    unfound = np.bincount(matches.object_label[~is_found], minlength=classes)
    some = objects > 0
    costs["missed"] = average_precision(label, hit, objects - missed, some) - base
    costs["false positives"] = average_precision(label[hit], hit[hit], objects) - base
    costs["false negatives"] = average_precision(label, hit, objects - unfound, some) - base
    return costs


def average_precision(
    label: Integers, correct: Flags, objects: Integers, classes: Flags | None = None
) -> float:
    """Mean of the classes' precision at recalls 0, 0.01, ... 1, in percent, as COCO takes it.

    Args:
        label: ``(D,)`` classes of the detections, the best score first.
        correct: ``(D,)`` which of them are true positives.
        objects: ``(K,)`` objects of each class.
        classes: ``(K,)`` those that count; default: those with objects.

    Returns:
        NaN if no class counts.
    """
    order = np.argsort(label, kind="stable")
    starts = np.searchsorted(label[order], np.arange(len(objects) + 1))
    values = [
        _class_precision(correct[order[starts[k] : starts[k + 1]]], int(objects[k]))
        for k in np.flatnonzero(objects if classes is None else classes)
    ]
    return 100 * float(np.mean(values)) if values else float("nan")


def _class_precision(correct: Flags, objects: int) -> float:
    if not len(correct) or not objects:
        return 0.0
    true = np.cumsum(correct)
    recall, precision = true / objects, true / np.arange(1, len(correct) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, _RECALLS, side="left")
    return float(highest[at[at < len(highest)]].sum() / len(_RECALLS))
