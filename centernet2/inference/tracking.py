"""Objects followed through a video: an id for each, how many there were, what crossed a line."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from detectron2.structures import Instances

from centernet2.errors import UserError

if TYPE_CHECKING:
    import supervision
    from trackers import ByteTrackTracker

__all__ = ["LOWEST_SCORE", "Tracker"]

LOWEST_SCORE = 0.1  # detections that may continue a track, as in ByteTrack's report
_TICKS = 30.0  # a second, the unit of time in which the library's Kalman filter was tuned
_STEADY = 2  # frames on the other side before an object has crossed a line

Line = tuple[float, float, float, float]


class Tracker:
    """Gives the objects of a video ids that last, with ByteTrack of the package trackers.

    Each class is followed by itself. An object gets its id with the second detection of at least
    ``threshold``, is followed with lower ones too, and is lost when it is away for a second. The
    times of the frames count, not their number: frames may be uneven or left out.

    Args:
        threshold: least score of a detection that can start a track. Give detections from
            :data:`LOWEST_SCORE` on, so that objects half hidden are not lost.
        line: x0, y0, x1, y1 in pixels of the upright frame; counts the objects whose foot (middle
            of the lower edge) crosses it.

    Raises:
        UserError: the package is not installed, or the line has no length.
    """

    def __init__(self, threshold: float, line: Line | None = None) -> None:
        self._threshold = threshold
        self._library = _import("trackers")
        self._supervision = _import("supervision")
        self._by_class: dict[int, ByteTrackTracker] = {}
        self._ids: dict[tuple[int, int], int] = {}  # from class and the library's id
        self.line: supervision.LineZone | None = None
        if line is not None:
            x0, y0, x1, y1 = line
            if (x0, y0) == (x1, y1):
                raise UserError(f"a line from ({x0:g}, {y0:g}) to itself: give two distinct points")
            self.line = self._supervision.LineZone(
                self._supervision.Point(x0, y0),
                self._supervision.Point(x1, y1),
                triggering_anchors=[self._supervision.Position.BOTTOM_CENTER],
                minimum_crossing_threshold=_STEADY,
            )

    def __call__(self, found: Instances, time: float) -> Instances:
        """Follow the objects into the next frame.

        Args:
            found: its detections, on the CPU, with ``pred_boxes``, ``scores``, ``pred_classes``.
            time: of the frame, in seconds; later than the one before.

        Returns:
            Those that belong to a track, and those of at least the threshold that do not yet, in
            the same order, with one more field: ``track_ids``, ``(N,)`` int64, from 1 in the order
            of appearance; -1: no track yet.
        """
        boxes = found.pred_boxes.tensor.numpy()
        scores, classes = found.scores.numpy(), found.pred_classes.numpy()
        ids = np.full(len(found), -1, dtype=np.int64)
        for kind in sorted({*self._by_class, *classes.tolist()}):
            if kind not in self._by_class:
                self._by_class[kind] = self._library.ByteTrackTracker(
                    frame_rate=_TICKS,
                    track_activation_threshold=self._threshold,
                    high_conf_det_threshold=self._threshold,
                )
            rows = np.flatnonzero(classes == kind)
            given = self._supervision.Detections(
                boxes[rows], confidence=scores[rows], data={"row": rows}
            )
            followed = self._by_class[kind].update(given, timestamp=time)
            numbers = followed.tracker_id if followed.tracker_id is not None else ()
            for row, number in zip(followed.data.get("row", ()), numbers):
                key = (kind, int(number))
                # The library lets a low score confirm a track: a mistake with a shadow would count
                if key in self._ids or (number >= 0 and scores[row] >= self._threshold):
                    ids[row] = self._ids.setdefault(key, len(self._ids) + 1)
        kept = torch.from_numpy((ids >= 0) | (scores >= self._threshold))
        found = found[kept]
        found.track_ids = torch.from_numpy(ids)[kept]
        if self.line is not None:
            self.line.trigger(to_supervision(found))
        return found

    def objects(self) -> dict[int, int]:
        """Number of distinct objects so far by class."""
        return dict(sorted(Counter(kind for kind, _ in self._ids).items()))

    def crossings(self) -> tuple[int, int]:
        """How often the line was crossed so far.

        Returns:
            To the left, and to the right, of one who goes along it from its first point.
        """
        return (self.line.in_count, self.line.out_count) if self.line is not None else (0, 0)

    def summary(self, names: Sequence[str]) -> str:
        """Both counts in words, with the names of the classes."""
        counts = ", ".join(f"{number} {names[kind]}" for kind, number in self.objects().items())
        text = f"distinct objects: {counts or 'none'}"
        if self.line is not None:
            left, right = self.crossings()
            text += f"; line crossed: {left} to its left, {right} to its right"
        return text


def to_supervision(found: Instances) -> supervision.Detections:
    """Objects that have a track, for parts of the package supervision."""
    tracked = found[found.track_ids >= 0]
    return _import("supervision").Detections(
        tracked.pred_boxes.tensor.numpy(),
        class_id=tracked.pred_classes.numpy(),
        tracker_id=tracked.track_ids.numpy(),
    )


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"tracking needs the package {error.name or name}: pip install trackers"
        ) from error
