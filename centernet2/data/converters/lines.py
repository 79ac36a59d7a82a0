"""Text files line by line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from centernet2.errors import UserError

__all__ = ["read_lines"]


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines that are not empty: where each is, for messages, and its text without outer spaces.

    Raises:
        UserError: the file cannot be read, or is not text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8: {error.reason}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()
