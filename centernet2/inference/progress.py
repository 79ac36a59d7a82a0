"""How far a long run is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

__all__ = ["Meter", "counted", "rate_text"]

_SECONDS_BETWEEN_LINES = 30.0


def counted(number: int, unit: str) -> str:
    """A number with what it counts: "1 image", "1,200 images"."""
    return f"{number:,} {unit}" + ("" if number == 1 else "s")


def rate_text(number: float, seconds: float, unit: str) -> str:
    """Throughput in words: "12.3 images/s", or "4.10 s/image" where that is slow."""
    if number <= 0 or seconds <= 0:
        return ""
    rate = number / seconds
    return f"{rate:.1f} {unit}s/s" if rate >= 1 else f"{1 / rate:.2f} s/{unit}"


class Meter:
    """Counts what is done, on stderr; a context manager.

    Args:
        total: how many there are; None: unknown.
        unit: what is counted, in the singular.
        title: what comes first in each line.
        bar: whether a terminal gets a bar; it cannot show those of several processes.
    """

    def __init__(self, total: int | None, unit: str, title: str = "", bar: bool = True) -> None:
        self.done = 0
        self._total = total
        self._unit = unit
        self._title = title
        self._start = self._told = time.monotonic()
        console = Console(stderr=True)
        self._progress: Progress | None = None
        if bar and console.is_terminal:
            self._progress = Progress(
                TextColumn(title or "{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                _Rate(unit),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console,
                # What is printed goes above the bar, unless it goes to a file
                redirect_stdout=sys.stdout.isatty(),
            )
            self._task = self._progress.add_task(f"{unit}s", total=total)

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._start

    def advance(self) -> None:
        """One more is done."""
        self.done += 1
        if self._progress is not None:
            self._progress.advance(self._task)
        elif time.monotonic() - self._told >= _SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """How far it is, as one line of text."""
        number = counted(self.done, self._unit)
        if self._total is not None:
            number = f"{self.done:,} of {counted(self._total, self._unit)}"
        parts = [number, rate_text(self.done, self.seconds, self._unit)]
        if self._total is not None and self.done:
            left = self.seconds / self.done * (self._total - self.done)
            parts.append(f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left")
        return f"{self._title} ".lstrip() + ", ".join(part for part in parts if part)

    def __enter__(self) -> Meter:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()


class _Rate(ProgressColumn):
    """Throughput since the start."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text(rate_text(task.completed, task.elapsed or 0, self._unit))
