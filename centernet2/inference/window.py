"""A window on the screen, where there is one."""

from __future__ import annotations

import os
import re
import sys
from types import TracebackType

import cv2
import numpy as np
import numpy.typing as npt

from centernet2.errors import UserError

__all__ = ["Window"]

_QUIT = frozenset(["q", "Q", "\x1b"])


class Window:
    """Shows pictures; a context manager.

    Args:
        title: of the window.

    Raises:
        UserError: there is no display, or OpenCV was built without windows.
    """

    def __init__(self, title: str) -> None:
        # Asked first, because OpenCV ends the process when it opens a window without a display.
        unix = sys.platform not in ("win32", "darwin")
        if unix and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UserError(
                "there is no display to show results on: say --output where to save them"
            )
        if re.search(r"GUI:\s+NONE", cv2.getBuildInformation()):
            raise UserError(
                "this OpenCV cannot open windows (opencv-python-headless): "
                "say --output where to save the results"
            )
        self._title = title

    def show(self, image: npt.NDArray[np.uint8], wait: bool) -> bool:
        """Show a picture.

        Args:
            image: ``(H, W, 3)`` uint8, RGB.
            wait: until a key is pressed.

        Returns:
            Whether to go on: False after q, Esc or when the window was closed.
        """
        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        cv2.imshow(self._title, np.ascontiguousarray(image[:, :, ::-1]))
        while True:
            key = cv2.waitKey(50 if wait else 1)
            if key >= 0:
                return chr(key & 0xFF) not in _QUIT
            if cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
                return False
            if not wait:
                return True

    def __enter__(self) -> Window:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        cv2.destroyAllWindows()
