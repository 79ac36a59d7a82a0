from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest

from centernet2.errors import UserError
from centernet2.inference.window import Window


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A screen that records what OpenCV is asked to do."""
    state: dict[str, object] = {"keys": [], "visible": 1.0, "shown": []}

    def key(delay: int) -> int:
        keys = state["keys"]
        return keys.pop(0) if keys else -1

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:    QT5")
    monkeypatch.setattr(cv2, "namedWindow", lambda *a: None)
    monkeypatch.setattr(cv2, "imshow", lambda title, image: state["shown"].append(image))
    monkeypatch.setattr(cv2, "waitKey", key)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *a: state["visible"])
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: state.update(destroyed=True))
    return state


def test_missing_display_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UserError, match=r"no display .*--output"):
        Window("x")


def test_opencv_without_windows_is_said(
    display: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:           NONE")
    with pytest.raises(UserError, match=r"headless.*--output"):
        Window("x")


def test_colours_are_right_and_the_window_is_closed(display: dict[str, object]) -> None:
    red = np.zeros((4, 4, 3), dtype=np.uint8)
    red[..., 0] = 255
    with Window("x") as window:
        assert window.show(red, wait=False)
    (shown,) = display["shown"]
    assert tuple(shown[0, 0]) == (0, 0, 255)
    assert display["destroyed"]


@pytest.mark.parametrize(
    ("key", "goes_on"), [("n", True), (" ", True), ("q", False), ("\x1b", False)]
)
def test_keys(display: dict[str, object], key: str, goes_on: bool) -> None:
    display["keys"] = [-1, -1, ord(key)]
    with Window("x") as window:
        assert window.show(np.zeros((4, 4, 3), dtype=np.uint8), wait=True) == goes_on
    assert display["keys"] == []


def test_closed_window_ends_the_waiting(display: dict[str, object]) -> None:
    display["visible"] = 0.0
    with Window("x") as window:
        assert not window.show(np.zeros((4, 4, 3), dtype=np.uint8), wait=True)
