"""Weights out of a graph model of TensorFlow.js: a JSON file and a file of numbers beside it."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from centernet2.data.json_file import read_json
from centernet2.errors import UserError

__all__ = ["read_tfjs"]

_MOST_DIMENSIONS = 8
_TYPES = {"float32": "<f4", "int32": "<i4"}


def read_tfjs(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """Read the weights of a model whose numbers lie in one file beside it; nothing is executed.

    Args:
        path: the model's JSON file. Its numbers are float32, int32, or float32 kept as float16.

    Returns:
        An array for each constant, by name; halves stay halves.

    Raises:
        UserError: a file cannot be read, is of another kind, or the two do not fit each other.
    """
    json_path = Path(path)
    buffer_name, entries = _manifest(json_path, read_json(json_path))
    buffer_path = json_path.parent / buffer_name
    try:
        content = buffer_path.read_bytes()
    except OSError as error:
        raise UserError(f"{buffer_path} cannot be read: {error.strerror}.") from error
    arrays: dict[str, npt.NDArray[Any]] = {}
    offset = 0
    for entry in entries:
        name, shape, kind = _entry(json_path, entry)
        if name in arrays:
            raise _broken(json_path, f"it names {name!r} twice")
        count = math.prod(shape)
        end = offset + count * kind.itemsize
        if end > len(content):
            raise UserError(
                f"{buffer_path} is cut short: {json_path.name} tells of {name!r} up to byte {end}, "
                f"it has {len(content)}."
            )
        arrays[name] = np.frombuffer(content, kind, count, offset).reshape(shape)
        offset = end
    if offset != len(content):
        raise UserError(
            f"{buffer_path} has {len(content)} bytes, but {json_path.name} tells of {offset}: they "
            "are of different models."
        )
    return arrays


def _manifest(path: Path, model: Any) -> tuple[str, list[Any]]:
    groups = model.get("weightsManifest") if isinstance(model, dict) else None
    if not isinstance(groups, list) or len(groups) != 1 or not isinstance(groups[0], dict):
        raise _broken(path, "it has no weightsManifest of one group")
    names, entries = groups[0].get("paths"), groups[0].get("weights")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(entries, list):
        raise _broken(path, "its weights do not lie in one file")
    name = names[0]
    # The file names its neighbour: it must not lead anywhere else
    if not isinstance(name, str) or not name or name != os.path.basename(name) or "\\" in name:
        raise _broken(path, f"its weights' file {name!r} is not beside it")
    return name, entries


def _entry(path: Path, entry: Any) -> tuple[str, tuple[int, ...], np.dtype[Any]]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise _broken(path, "a weight has no name")
    name, shape = entry["name"], entry.get("shape")
    if not (
        isinstance(shape, list)
        and len(shape) <= _MOST_DIMENSIONS
        and all(type(side) is int and side >= 0 for side in shape)
    ):
        raise _broken(path, f"the shape of {name!r} is {str(shape)[:80]}")
    quantization = entry.get("quantization")
    if quantization is None:
        kind = _TYPES.get(str(entry.get("dtype")))
    else:
        # Whole numbers with a scale would need arithmetic; nothing here has them
        plain = isinstance(quantization, dict) and quantization.get("dtype") == "float16"
        kind = "<f2" if plain and entry.get("dtype") == "float32" else None
    if kind is None:
        raise _broken(path, f"{name!r} is of the unknown type {entry.get('dtype')!r}")
    return name, tuple(shape), np.dtype(kind)


def _broken(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is not a TensorFlow.js graph model that is understood: {reason}.")
