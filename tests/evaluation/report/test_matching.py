from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from centernet2.evaluation.report.matching import ERROR_KINDS, match

from .scenes import detection, iou, loaded, make_federated, make_truth, polygon


def names_of(matches):
    return [{-1: "hit", -2: "ignored"}.get(k) or ERROR_KINDS[k] for k in matches.kind.tolist()]


OBJECTS = [(0, 0, 10, 10, 20, 20, 0), (0, 1, 60, 60, 20, 20, 0), (1, 0, 0, 0, 9, 9, 0)]
FOUND = [
    detection(0, 0, 10, 10, 20, 20, 0.9),  # hit
    detection(0, 0, 11, 10, 20, 20, 0.8),  # duplicate
    detection(0, 0, 20, 10, 20, 20, 0.7),  # localisation: IoU 1/3
    detection(0, 0, 60, 60, 20, 20, 0.6),  # classification
    detection(0, 0, 70, 60, 20, 20, 0.5),  # both
    detection(0, 1, 80, 10, 5, 5, 0.4),  # background
]
KINDS = ["hit", "duplicate", "localisation", "classification", "both", "background"]


def test_each_kind_of_error_is_told_from_the_others(tmp_path):
    matches = match(loaded(tmp_path, make_truth(OBJECTS), FOUND[::-1]))
    assert names_of(matches) == KINDS
    assert [FOUND[::-1][i]["score"] for i in matches.index] == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert matches.target.tolist() == [0, -1, 0, 1, -1, -1]
    assert matches.missed().tolist() == [False, False, True]
    assert matches.missed(0.65).tolist() == [False, True, True]
    assert matches.errors() == dict.fromkeys(ERROR_KINDS, 1) | {
        "missed": 1,
        "false positives": 5,
        "false negatives": 2,
    }
    assert matches.errors(0.75)["localisation"] == 0 and matches.errors(0.75)["duplicate"] == 1


def test_masks_are_matched_by_their_pixels(tmp_path):
    truth = make_truth(OBJECTS)
    found = [dict(d) for d in FOUND]
    for record in truth["annotations"]:
        record["segmentation"] = polygon(record["bbox"])
    for record in found:
        (code,) = mask_api.frPyObjects(polygon(record["bbox"]), 100, 100)
        record["segmentation"] = {"size": [100, 100], "counts": code["counts"].decode()}
        record["bbox"] = [0, 0, 99, 99]  # boxes do not count for masks
    matches = match(loaded(tmp_path, truth, found), "segm")
    assert names_of(matches) == KINDS and matches.missed().sum() == 1


def test_a_crowd_neither_counts_for_nor_against(tmp_path):
    truth = make_truth([(0, 0, 0, 0, 50, 50, 1)])
    found = [detection(0, 0, 10, 10, 5, 5, 0.9), detection(0, 1, 10, 10, 5, 5, 0.8)]
    matches = match(loaded(tmp_path, truth, found))
    assert names_of(matches) == ["ignored", "background"]
    assert matches.missed().sum() == 0
    assert matches.confusion(2, 0).tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_no_more_than_a_hundred_of_a_class_count_in_an_image(tmp_path):
    found = [detection(0, k, 1, 1, 5, 5, 0.9 - 0.001 * i) for i in range(120) for k in (0, 1)]
    matches = match(loaded(tmp_path, make_truth([]), [*found, detection(1, 0, 1, 1, 5, 5, 0.1)]))
    assert np.bincount(matches.label).tolist() == [101, 100]
    assert matches.score[matches.image == 0].min() == 0.9 - 0.001 * 99


def test_rules_of_lvis(tmp_path):
    truth = make_truth([(0, 0, 0, 0, 9, 9, 0), (1, 2, 50, 50, 9, 9, 0)], ("a", "b", "c"))
    make_federated(truth, {0: [1]}, {0: [0], 1: [2]})
    found = [
        detection(0, 0, 0, 0, 9, 9, 0.9),  # hit
        detection(0, 0, 40, 40, 9, 9, 0.8),  # class a may have more objects here
        detection(0, 1, 40, 40, 9, 9, 0.7),  # class b is known to be absent
        detection(0, 2, 40, 40, 9, 9, 0.6),  # class c was not looked for: left out
        detection(1, 2, 1, 1, 9, 9, 0.5),
    ]
    matches = match(loaded(tmp_path, truth, found))
    assert names_of(matches) == ["hit", "ignored", "background", "ignored"]
    assert matches.label.tolist() == [0, 0, 1, 2]
    assert matches.missed().tolist() == [False, True]
    assert matches.correctness()[1].tolist() == [True, False]

    crowded = [detection(0, 1, 40, 40, 9, 9, 0.9 - 0.001 * i) for i in range(310)]
    assert len(match(loaded(tmp_path, truth, crowded)).score) == 300


sides = st.integers(1, 12)
places = st.tuples(st.integers(0, 1), st.integers(0, 1), sides, sides, sides, sides)


@settings(max_examples=60, deadline=None)
@given(st.lists(places, max_size=6), st.lists(places, max_size=8))
def test_matches_agree_with_loops_over_boxes(tmp_path_factory, objects, boxes):
    truth = make_truth([(*o, 0) for o in objects])
    found = [detection(*b, 0.99 - 0.01 * i) for i, b in enumerate(boxes)]
    matches = match(loaded(tmp_path_factory.mktemp("m"), truth, found))
    hits = 0
    used = set()
    for box in boxes:
        best, best_iou = None, 0.5
        for j, o in enumerate(objects):
            overlap = iou(box[2:], o[2:])
            better = overlap > best_iou + 1e-12 or (best is None and overlap >= 0.5 - 1e-12)
            if o[:2] == box[:2] and j not in used and better:
                best, best_iou = j, overlap
        if best is not None:
            used.add(best)
            hits += 1
    assert (matches.kind == -1).sum() == hits
    confusion = matches.confusion(2, 0)
    sums = confusion.sum(axis=1)
    assert sums[:2].tolist() == [sum(o[1] == k for o in objects) for k in (0, 1)]
    columns = confusion.sum(axis=0)
    assert columns[:2].tolist() == [sum(b[1] == k for b in boxes) for k in (0, 1)]
