from __future__ import annotations

import importlib
from collections.abc import Sequence

import pytest
import torch
from detectron2.structures import Boxes, Instances

from centernet2.errors import UserError
from centernet2.inference.tracking import Tracker

pytest.importorskip("trackers")

Object = tuple  # (x of the middle, score, class)


def scene(*objects: Object) -> Instances:
    """Objects 40 wide and 80 high whose feet stand at y = 100, in a frame of 640x200."""
    found = Instances((200, 640))
    boxes = [[x - 20, 20, x + 20, 100] for x, _, _ in objects]
    found.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    found.scores = torch.tensor([score for _, score, _ in objects])
    found.pred_classes = torch.tensor([kind for _, _, kind in objects], dtype=torch.int64)
    return found


def ids(tracker: Tracker, time: float, *objects: Object) -> list[int]:
    return tracker(scene(*objects), time).track_ids.tolist()


def walk(tracker: Tracker, ways: Sequence[Sequence[float]], step: float = 0.04) -> list[list[int]]:
    return [
        ids(tracker, i * step, *((x, 0.9, 0) for x in places))
        for i, places in enumerate(zip(*ways))
    ]


def test_objects_keep_their_ids_in_any_order_of_detections() -> None:
    tracker = Tracker(0.5)
    first = walk(tracker, [range(100, 160, 6), range(500, 440, -6)])
    assert first[0] == [-1, -1]  # seen once, it may be a mistake
    assert sorted(first[1]) == [1, 2]
    assert first[1:] == [first[1]] * 9
    assert ids(tracker, 0.4, (440, 0.9, 0), (160, 0.9, 0)) == first[1][::-1]
    assert tracker.objects() == {0: 2}


def test_an_object_that_is_hidden_for_half_a_second_is_found_where_it_went() -> None:
    tracker = Tracker(0.5)
    assert walk(tracker, [range(100, 180, 4)])[-1] == [1]
    for i in range(20, 32):
        assert ids(tracker, i * 0.04) == []
    # Without its speed it would be sought at 176: no overlap with where it is
    assert ids(tracker, 32 * 0.04, (100 + 32 * 4, 0.9, 0)) == [1]
    assert tracker.objects() == {0: 1}


def test_after_more_than_a_second_it_is_another_object() -> None:
    tracker = Tracker(0.5)
    walk(tracker, [[100] * 10])
    for time in (1.5, 1.54):
        new = ids(tracker, time, (100, 0.9, 0))
    assert new == [2]


def test_times_count_and_not_frames() -> None:
    sparse, dense = Tracker(0.5), Tracker(0.5)
    moments = [0, 0.04, 0.08, 0.2, 0.21, 0.4, 0.7, 0.75]
    found = [ids(sparse, t, (100 + 150 * t, 0.9, 0)) for t in moments]
    assert found == [[-1], *[[1]] * 7]
    assert ids(sparse, 1.5, (100 + 150 * 1.5, 0.9, 0)) == [1]
    for i in range(30):
        ids(dense, i / 500, (100, 0.9, 0))
    for i in range(30, 330):  # 300 frames without it are 0.6 s here
        ids(dense, i / 500)
    assert ids(dense, 330 / 500, (100, 0.9, 0)) == [1]


def test_low_scores_continue_tracks_and_start_none() -> None:
    tracker = Tracker(0.5)
    walk(tracker, [[100] * 3])
    found = tracker(scene((300, 0.2, 0), (102, 0.15, 0), (500, 0.6, 0)), 0.12)
    assert found.track_ids.tolist() == [1, -1]
    assert found.scores.tolist() == pytest.approx([0.15, 0.6])
    for i in range(4, 9):
        assert ids(tracker, i * 0.04, (300, 0.2, 0)) == []
    assert tracker.objects() == {0: 1}


def test_a_low_score_confirms_no_object() -> None:
    tracker = Tracker(0.5)
    for i, score in enumerate([0.6, 0.2, 0.2]):
        assert [n for n in ids(tracker, i * 0.04, (100, score, 0)) if n >= 0] == []
    assert tracker.objects() == {}
    assert ids(tracker, 0.12, (100, 0.6, 0)) == [1]
    assert ids(tracker, 0.16, (100, 0.2, 0)) == [1]


def test_classes_are_followed_and_counted_apart() -> None:
    tracker = Tracker(0.5)
    for i in range(5):
        found = ids(tracker, i * 0.04, (100, 0.9, 2), (104, 0.9, 0), (400, 0.8, 2))
    assert sorted(found) == [1, 2, 3]
    assert tracker.objects() == {0: 1, 2: 2}
    assert tracker.summary(["person", "bus", "car"]) == "distinct objects: 1 person, 2 car"


def test_other_fields_are_kept_in_order() -> None:
    tracker = Tracker(0.5)
    objects = scene((400, 0.7, 0), (100, 0.9, 1), (250, 0.3, 1))
    objects.pred_masks = torch.arange(3).reshape(3, 1, 1).expand(3, 200, 640)
    found = tracker(objects, 0.0)
    assert found.pred_masks[:, 0, 0].tolist() == [0, 1]
    assert found.pred_boxes.tensor[:, 0].tolist() == [380, 80]


def test_crossings_are_counted_by_direction() -> None:
    upwards = (300.0, 200.0, 300.0, 0.0)  # to its right lies larger x
    tracker = Tracker(0.5, upwards)
    walk(tracker, [range(200, 400, 8), [120] * 25])
    assert tracker.crossings() == (0, 1)
    tracker = Tracker(0.5, upwards)
    walk(tracker, [range(400, 200, -8), range(100, 300, 7)])
    assert tracker.crossings() == (1, 0)
    assert tracker.summary(["person"]).endswith("line crossed: 1 to its left, 0 to its right")


def test_a_line_needs_two_points() -> None:
    with pytest.raises(UserError, match="two distinct points"):
        Tracker(0.5, (3, 4, 3, 4))


def test_absent_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(UserError, match="needs the package trackers: pip install trackers"):
        Tracker(0.5)
