"""The log of a run: on the terminal and in OUTPUT_DIR's ``log.txt``."""

from __future__ import annotations

import atexit
import contextlib
import logging
import sys
from typing import Any

from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

__all__ = ["start_logs"]


def start_logs(folder: str) -> None:
    """Log to a folder; where that fails later, one line on stderr says so.

    Args:
        folder: OUTPUT_DIR; processes other than the first write ``log.txt.rank1`` and so on.
    """
    # A second run in one process must not write into the first one's log, nor each line twice.
    setup_logger.cache_clear()
    for name in ("fvcore", "detectron2", "centernet2"):
        logging.getLogger(name).handlers.clear()
        setup_logger(folder, distributed_rank=comm.get_rank(), name=name)
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is not sys.stdout:
                _complain_once(handler)


def _complain_once(handler: logging.StreamHandler[Any]) -> None:
    # By default every line that a full disk refuses prints a traceback
    usual, told = handler.handleError, [False]

    def handle(record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            usual(record)
        elif not told[0]:
            told[0] = True
            name = getattr(handler.stream, "name", "the log")
            print(f"{name} cannot be written: {error.strerror or error}", file=sys.stderr)

    handler.handleError = handle  # type: ignore[method-assign]
    # Runs before Detectron2's own closing, which would print a traceback
    atexit.register(_close, handler.stream)


def _close(stream: Any) -> None:
    with contextlib.suppress(OSError):
        stream.close()
