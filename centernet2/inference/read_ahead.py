"""Work on the next items while the present one is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["read_ahead"]

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(
    function: Callable[[T], R], items: Iterable[T], ahead: int, workers: int = 4
) -> Iterator[R]:
    """Yield ``function(item)`` for each item, in order, from threads that run ahead.

    Args:
        function: fit for threads: reading and decoding of files is.
        items: taken as they are needed.
        ahead: results that may wait, 1 or more; what bounds the memory.
        workers: threads.

    Raises:
        Exception: what ``function`` raises, when that item's turn comes.
    """
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
        pool.shutdown()
