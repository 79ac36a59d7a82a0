"""Stopping on request: SIGTERM of a scheduler, Ctrl-C of a person."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["StopRequest", "TrainingInterrupted", "stop_on_signals"]


class TrainingInterrupted(Exception):
    """Training stopped on a signal; ``exit_code`` is the shell's 128 + signal number."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


class StopRequest:
    """Remembers the signal that asked to stop; 0 means none did."""

    def __init__(self) -> None:
        self.signum = 0

    def guard(self, loader: Any) -> GuardedLoader:
        """A view of a loader that raises TrainingInterrupted once a stop is requested."""
        return GuardedLoader(loader, self)


class GuardedLoader:
    """Yields a loader's items until its request says stop."""

    def __init__(self, loader: Any, request: StopRequest) -> None:
        self._loader = loader
        self._request = request

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        for item in self._loader:
            if self._request.signum:
                raise TrainingInterrupted("stopped while evaluating", self._request.signum)
            yield item


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM and the first Ctrl-C into a :class:`StopRequest` inside the context.

    A second Ctrl-C raises KeyboardInterrupt. Outside the main thread, where Python does not allow
    signal handlers, the request never comes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def remember(signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and request.signum == signal.SIGINT:
            raise KeyboardInterrupt
        # A second SIGTERM is ignored: launchers and process groups often deliver it twice.
        request.signum = request.signum or signum

    former = {s: signal.signal(s, remember) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for signum, handler in former.items():
            signal.signal(signum, handler)
