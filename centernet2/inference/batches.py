"""Grouping of an endless or long series."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

__all__ = ["batched"]

T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of ``size`` items, the last one shorter, taking no more than needed ahead.

    (``itertools.batched`` needs Python 3.12.)
    """
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
