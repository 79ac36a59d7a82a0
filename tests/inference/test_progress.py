from __future__ import annotations

import io
import sys
import time

import pytest

from centernet2.inference.progress import Meter, counted, rate_text


def test_throughput_in_words() -> None:
    assert rate_text(120, 10, "image") == "12.0 images/s"
    assert rate_text(2, 10, "image") == "5.00 s/image"
    assert rate_text(0, 10, "image") == ""


def test_numbers_with_what_they_count() -> None:
    assert counted(1, "image") == "1 image"
    assert counted(12345, "image") == "12,345 images"


def test_log_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with Meter(100, "image", "[process 1 of 2]") as meter:
        for _ in range(70):
            clock[0] += 1
            meter.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "[process 1 of 2] 30 of 100 images, 1.0 images/s, 70 s left",
        "[process 1 of 2] 60 of 100 images, 1.0 images/s, 40 s left",
    ]
    assert (meter.done, meter.seconds) == (70, 70)


def test_unknown_total_has_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    meter = Meter(None, "frame")
    clock[0] = 2.0
    meter.advance()
    assert meter.line() == "1 frame, 2.00 s/frame"


def test_terminal_gets_a_bar_and_what_is_printed_goes_above_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, file = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", file)
    monkeypatch.setenv("TERM", "xterm")
    with Meter(3, "image") as meter:
        for _ in range(3):
            meter.advance()
            print("one line")
    assert file.getvalue() == "one line\n" * 3  # stdout is a file here, so it stays there
    assert "3/3" in terminal.getvalue()
    assert "one line" not in terminal.getvalue()
