"""The rise of AP against one that is computed by mending the errors one by one."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.evaluation.report.costs import average_precision, error_costs
from centernet2.evaluation.report.files import load_files
from centernet2.evaluation.report.matching import ERROR_KINDS, match
from centernet2.evaluation.report.precision import mean_valid, precisions

from .scenes import detection, iou, loaded, make_truth

CLASSES = 3
EXTRA = ("missed", "false positives", "false negatives")


def slow_ap(entries, counts, classes=None):
    """Mean AP of entries (class, score, correct), by definition, at 101 recalls."""
    values = []
    for label, objects in enumerate(counts):
        if (objects if classes is None else classes[label]) == 0:
            continue
        mine = sorted((e for e in entries if e[0] == label), key=lambda e: -e[1])
        points = []
        for n in range(1, len(mine) + 1):
            true = sum(e[2] for e in mine[:n])
            points.append((true / objects if objects else -1, true / n))
        at = [r / 100 for r in range(101)]
        values.append(sum(max((p for r, p in points if r >= x - 1e-12), default=0) for x in at))
    return sum(values) / 101 / len(values) * 100 if values else float("nan")


def slow_costs(objects, boxes):
    """``objects`` are (image, class, box), ``boxes`` (image, class, box, score), best first."""
    taken, judged = {}, []
    for i, (image, label, box, _) in enumerate(boxes):
        near = [(iou(box, o[2]), j) for j, o in enumerate(objects) if o[0] == image]
        own = max([(v, j) for v, j in near if objects[j][1] == label], default=(0, None))
        other = max([(v, -j) for v, j in near if objects[j][1] != label], default=(0, 0))
        free = [(v, j) for v, j in near if objects[j][1] == label and j not in taken]
        best = max(free, default=(0, None))
        if best[0] >= 0.5:
            taken[best[1]] = i
            judged.append(("hit", best[1]))
        elif 0.1 <= own[0] < 0.5:
            first = min(j for v, j in near if objects[j][1] == label and v == own[0])
            judged.append(("localisation", first))
        elif other[0] >= 0.5:
            judged.append(("classification", -other[1]))
        elif own[0] >= 0.5:
            judged.append(("duplicate", None))
        elif max(own[0], other[0]) <= 0.1:
            judged.append(("background", None))
        else:
            judged.append(("both", None))

    counts = [sum(o[1] == k for o in objects) for k in range(CLASSES)]
    entries = [(b[1], b[3], kind == "hit") for b, (kind, _) in zip(boxes, judged)]
    base = slow_ap(entries, counts)
    costs = {"AP": base}
    for kind in ERROR_KINDS:
        mended, given_to = [], set(taken)
        for entry, (judgement, j) in zip(entries, judged):
            claims = judgement in ("localisation", "classification") and j not in given_to
            if claims:
                given_to.add(j)
            if judgement != kind:
                mended.append(entry)
            elif claims:
                mended.append((objects[j][1], entry[1], True))
        costs[kind] = slow_ap(mended, counts) - base
    explained = {j for kind, j in judged if j is not None}
    for name, kept in (("missed", explained), ("false negatives", set(taken))):
        rest = [o[1] for j, o in enumerate(objects) if j in kept]
        costs[name] = slow_ap(entries, [rest.count(k) for k in range(CLASSES)], counts) - base
    costs["false positives"] = slow_ap([e for e in entries if e[2]], counts) - base
    return costs


sides = st.integers(2, 9)
places = st.tuples(
    st.integers(0, 1), st.integers(0, CLASSES - 1), st.tuples(sides, sides, sides, sides)
)


@settings(max_examples=50, deadline=None)
@given(st.lists(places, min_size=1, max_size=6), st.lists(places, max_size=9))
def test_costs_are_those_of_mending_one_by_one(tmp_path_factory, objects, boxes):
    boxes = [(*b, 0.99 - 0.01 * i) for i, b in enumerate(boxes)]
    truth = make_truth([(i, k, *box, 0) for i, k, box in objects], tuple("abc"))
    found = [detection(i, k, *box, score) for i, k, box, score in boxes]
    costs = error_costs(match(loaded(tmp_path_factory.mktemp("c"), truth, found)), CLASSES)
    expected = slow_costs([(i, k, list(b)) for i, k, b in objects], boxes)
    assert costs.keys() == {"AP", *ERROR_KINDS, *EXTRA} == expected.keys()
    for name, value in expected.items():
        assert costs[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name


def test_a_single_misplaced_box_costs_all(tmp_path):
    truth = make_truth([(0, 0, 10, 10, 20, 20, 0)])
    costs = error_costs(match(loaded(tmp_path, truth, [detection(0, 0, 20, 10, 20, 20, 0.5)])), 2)
    assert costs["AP"] == 0
    assert costs["localisation"] == pytest.approx(100)
    assert costs["missed"] == 0 and costs["false negatives"] == 0


def test_no_class_has_objects():
    none = np.zeros(0, dtype=int)
    assert np.isnan(average_precision(none, none.astype(bool), np.zeros(3, dtype=int)))


def jittered(path, seed=0):
    truth, chance = json.loads(path.read_text()), random.Random(seed)
    categories = [c["id"] for c in truth["categories"]]
    found = []
    for a in truth["annotations"]:
        for _ in range(chance.choice((0, 1, 1, 2, 3))):
            shift = chance.choice((0.05, 0.2, 0.5)) * min(a["bbox"][2:])
            wrong = chance.random() < 0.2
            found.append(
                {
                    "image_id": a["image_id"],
                    "category_id": chance.choice(categories) if wrong else a["category_id"],
                    "bbox": [v + chance.uniform(-shift, shift) for v in a["bbox"][:2]]
                    + a["bbox"][2:],
                    "score": chance.random(),
                }
            )
    return found


@pytest.mark.parametrize("file", ["bccd/val.json", "coco_mini/annotations/instances_val2017.json"])
def test_another_implementation_agrees_on_real_data(file, shared_data, tmp_path):
    hotcoco = pytest.importorskip("hotcoco")
    path = shared_data / file
    (tmp_path / "dt.json").write_text(json.dumps(jittered(path)))
    data = load_files(tmp_path / "dt.json", path)
    matches = match(data)
    costs = error_costs(matches, len(data.categories))
    assert costs["AP"] == pytest.approx(mean_valid(precisions(data, np.array([0.5]))[0][..., 0]))

    truth = hotcoco.COCO(data.truth)
    other = hotcoco.COCOeval(truth, truth.load_res(data.found), "bbox")
    other.evaluate()
    other = other.tide_errors()
    names = {"Loc": "localisation", "Cls": "classification", "Dupe": "duplicate"}
    names |= {"Bkg": "background", "Both": "both", "Miss": "missed"}
    counts = matches.errors()
    for theirs, ours in names.items():
        assert counts[ours] == other["counts"][theirs], ours
    names |= {"FP": "false positives", "FN": "false negatives"}
    for theirs, ours in names.items():
        assert costs[ours] == pytest.approx(100 * other["delta_ap"][theirs], abs=1e-6), ours
    assert costs["localisation"] > 1 and costs["classification"] > 1
