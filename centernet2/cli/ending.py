"""How a command ends: with a status, and one sentence where something was wrong."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

from centernet2.errors import UserError

__all__ = ["exit_status", "warn_of"]


def exit_status(work: Callable[[], int], stopped: str = "stopped") -> int:
    """Do a command's work.

    SIGTERM ends it as an exit of the process would, so that files are completed.

    Args:
        work: gives the exit status.
        stopped: what to say after Ctrl-C.

    Returns:
        The status of ``work``; a UserError's own, after its sentence; 130 after Ctrl-C.
    """
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return work()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130


def _terminated(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


def warn_of(problems: Iterable[str]) -> None:
    """Tell of what went wrong on the way, a line each."""
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
