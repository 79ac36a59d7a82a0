"""Drawings of objects that are followed: ids, the ways they came, and a line with its counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from detectron2.structures import Instances

from centernet2.inference.colors import color_of
from centernet2.inference.drawing import draw_predictions, font_size, line_width
from centernet2.inference.tracking import Tracker, to_supervision

if TYPE_CHECKING:
    import supervision

__all__ = ["TrailDrawer"]

Picture = npt.NDArray[np.uint8]  # (H, W, 3), RGB

_COLORS = 300  # then they begin anew
_POINTS = 50  # of a trail: two seconds of a usual video


class TrailDrawer:
    """Draws the objects of one frame after another.

    Args:
        tracker: that gave them their ids.
    """

    def __init__(self, tracker: Tracker) -> None:
        import supervision  # there, as the tracker needs it

        self._tracker = tracker
        # Told to be BGR, as the library takes pictures to be
        colors = [supervision.Color(b, g, r) for r, g, b in map(color_of, range(_COLORS))]
        self._trails = supervision.TraceAnnotator(
            supervision.ColorPalette(colors),
            position=supervision.Position.BOTTOM_CENTER,
            trace_length=_POINTS,
            color_lookup=supervision.ColorLookup.TRACK,
        )

    def __call__(self, image: Picture, found: Instances, names: Sequence[str]) -> Picture:
        """Draw a frame.

        Args:
            image: ``(H, W, 3)`` uint8, RGB.
            found: what the tracker returned for it.
            names: name of each class.

        Returns:
            ``(H, W, 3)`` uint8, RGB.
        """
        canvas = np.array(image, order="C")
        self._trails.thickness = line_width(*image.shape[:2])
        self._trails.annotate(canvas, to_supervision(found))
        if self._tracker.line is not None:
            self._draw_line(canvas, self._tracker.line)
        numbers = [number % _COLORS for number in found.track_ids.tolist()]
        return draw_predictions(canvas, found, names, numbers)

    @staticmethod
    def _draw_line(image: Picture, line: supervision.LineZone) -> None:
        import supervision

        size = font_size(*image.shape[:2])
        width = line_width(*image.shape[:2])
        supervision.LineZoneAnnotator(
            thickness=2 * width,
            text_thickness=width,
            text_scale=size / 32,
            text_padding=size // 3,
            custom_in_text="to the left",
            custom_out_text="to the right",
        ).annotate(image, line)
