"""Variables of the environment that others read, set for a while."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = ["environment_set"]


@contextmanager
def environment_set(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables; afterwards each is what it was, or not set."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
