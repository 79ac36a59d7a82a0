"""Reading the JSON files that a user names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from centernet2.errors import UserError

__all__ = ["read_json"]


def read_json(path: str | os.PathLike[str]) -> Any:
    """A file's value, in any Unicode encoding that JSON allows, with a byte order mark or without.

    Numbers that JSON does not have (``NaN``, ``Infinity``) are read as Python's.

    Raises:
        UserError: the file cannot be read or is not JSON.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {error.lineno}, is not valid JSON: {error.msg}; give a complete JSON "
            "file."
        ) from error
    except RecursionError as error:
        raise UserError(f"{path} cannot be read: its lists are nested too deeply.") from error
    except ValueError as error:  # not text at all, or a number of thousands of digits
        raise UserError(f"{path} is not valid JSON: {error}; give a JSON file.") from error
