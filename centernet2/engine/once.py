"""Work that one process of each machine does for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from detectron2.utils import comm

from centernet2.errors import UserError

__all__ = ["once_a_machine"]

_T = TypeVar("_T")


def once_a_machine(work: Callable[[], _T]) -> _T:
    """The result of work that only one process of each machine does.

    Raises:
        UserError: in every process, if the work raised it in one.
    """
    result: _T | UserError | None = None
    if comm.get_local_rank() == 0:
        try:
            result = work()
        except UserError as error:
            result = error
    results = [r for r in comm.all_gather(result) if r is not None]
    for r in results:
        if isinstance(r, UserError):
            raise r
    return results[0]
