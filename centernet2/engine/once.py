"""Work that one process does for all, and mistakes that end all processes alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from detectron2.utils import comm

from centernet2.errors import UserError

__all__ = ["in_each_process", "in_main_process", "once_a_machine"]

_T = TypeVar("_T")


def in_each_process(work: Callable[[], _T]) -> _T:
    """The first result of work that every process does.

    Raises:
        UserError: in every process, if the work raised it in one.
    """
    return _agreed(work, here=True)


def once_a_machine(work: Callable[[], _T]) -> _T:
    """The result of work that only one process of each machine does; raises as above."""
    return _agreed(work, here=comm.get_local_rank() == 0)


def in_main_process(work: Callable[[], _T]) -> _T:
    """The result of work that only the first of all processes does; raises as above."""
    return _agreed(work, here=comm.is_main_process())


def _agreed(work: Callable[[], _T], here: bool) -> _T:
    result: tuple[_T] | UserError | None = None
    if here:
        try:
            result = (work(),)
        except UserError as error:
            result = error
    results = [r for r in comm.all_gather(result) if r is not None]
    for r in results:
        if isinstance(r, UserError):
            raise r
    return results[0][0]
