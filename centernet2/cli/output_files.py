"""Files that a command writes when its work is done."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from centernet2.engine.atomic import atomic_write
from centernet2.engine.storage import refusal_told

__all__ = ["check_place", "write_json"]

_CURE = "; name another file"


def check_place(path: Path) -> None:
    """Make the folder of a file and try to write in it, before the work is done.

    Raises:
        UserError: if the system refuses that, with its reason.
    """
    with refusal_told(path, _CURE):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


def write_json(content: Any, path: Path) -> None:
    """Write figures.

    Raises:
        UserError: if the system refuses that, with its reason.
    """
    with refusal_told(path, _CURE), atomic_write(path, "w") as file:
        json.dump(content, file, indent=2)
