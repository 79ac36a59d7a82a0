"""Weights out of files of any origin, without running code from them."""

from __future__ import annotations

import logging
import os
import pickle
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fvcore.common.checkpoint import _strip_prefix_if_present

from centernet2.engine.array_pickle import ForeignObject, allow_arrays, arrays_of, load_arrays
from centernet2.errors import UserError

__all__ = ["check_sums", "load_weights_file"]

logger = logging.getLogger(__name__)

# Where trainers keep a moving average of the weights: d2go, mmdetection and timm
_AVERAGES = ("ema_state", "model_ema", "state_dict_ema", "ema")
# Where they keep the weights themselves
_WEIGHTS = ("model", "state_dict", "model_state_dict", "model_state")
_MOST_GROWTH = 50
# What DataParallel, DistributedDataParallel, averages and torch.compile put in front of names
_WRAPPERS = ("module.", "_orig_mod.")

# How files of PyTorch before 1.6 begin: a pickle of a number
_OLD_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

# PyTorch's words for a file that is a pickle, but of more than weights
_FOREIGN = re.compile(
    r"Unsupported global: GLOBAL (?P<name>[\w.]+)|unsupported GLOBAL (?P<blocked>[\w.]+)"
    r"|Unsupported class (?P<cls>[\w.]+)|Trying to call reduce|Can only (create new|build)"
)


def load_weights_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint of tensors and plain values; nothing in the file is executed.

    The weights may lie bare in the file or under one of the keys that trainers use (``model``,
    ``state_dict``, ...). A moving average (``ema_state``, ``model_ema``, ...) is preferred to the
    weights that it follows. ``module.`` in front of all names is taken off.

    Args:
        path: ``.safetensors``, Detectron2 model-zoo ``.pkl``, or anything of ``torch.save``, which
            some give the ending ``.pkl`` too.

    Returns:
        A dict with the weights, tensors on the CPU or arrays, by name under ``model``, and what
        else the file holds under its own keys.

    Raises:
        UserError: if the file is damaged, or holds objects other than arrays and plain values.
    """
    name = os.fspath(path)
    try:
        if name.endswith(".safetensors"):
            return {"model": _read_safetensors(name)}
        if name.endswith(".pkl") and not _is_torch_file(name):
            return _from_model_zoo(name, load_arrays(Path(name).read_bytes()))
        _refuse_growth(name)
        with allow_arrays():
            loaded = torch.load(name, map_location="cpu", weights_only=True)
        loaded = arrays_of(loaded, os.path.getsize(name))
    except UserError:
        raise
    except Exception as error:  # zip, EOF, struct, safetensors errors: all mean a bad file
        raise _explained(name, error) from error
    if name.endswith(".pyth"):
        return _from_pycls(name, loaded)
    return _with_weights(name, loaded)


def check_sums(path: str | os.PathLike[str]) -> None:
    """Compare the content of a file of ``torch.save`` with the checksums in it.

    PyTorch's reader does not, so that single bits that a disk lost would go on in the weights.

    Raises:
        UserError: if a part differs, or the file is cut short.
    """
    name = os.fspath(path)
    try:
        with zipfile.ZipFile(name) as archive:
            damaged = archive.testzip()
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise _explained(name, error) from error
    if damaged is not None:
        raise UserError(f"{name} is damaged: the checksum of {damaged} in it is wrong.")


def _is_torch_file(name: str) -> bool:
    with open(name, "rb") as file:
        start = file.read(len(_OLD_TORCH_MAGIC))
    return start == _OLD_TORCH_MAGIC or zipfile.is_zipfile(name)


def _refuse_growth(name: str) -> None:
    # PyTorch stores without compressing; what grows by this much was packed to fill the memory
    if not zipfile.is_zipfile(name):
        return
    with zipfile.ZipFile(name) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > _MOST_GROWTH * os.path.getsize(name):
        raise UserError(
            f"{name}: refused, because it would grow to {size / 2**20:,.0f} MiB, more than "
            f"{_MOST_GROWTH} times its size; no weights can be packed like that."
        )


def _explained(name: str, error: Exception) -> UserError:
    # PyTorch wraps the reason in advice to load the file unsafely
    inner = error.__context__ if isinstance(error, pickle.UnpicklingError) else None
    cause = inner if isinstance(inner, pickle.UnpicklingError) else error
    text = (str(cause).strip() or type(cause).__name__).splitlines()[0].rstrip(".")
    found = _FOREIGN.search(str(cause))
    if not isinstance(cause, ForeignObject) and not found:
        return UserError(
            f"{name} cannot be read as a checkpoint; it may be cut short or another kind of file "
            f"({text})."
        )
    named = found and (found["name"] or found["blocked"] or found["cls"])
    return UserError(
        f"{name}: refused, because it holds Python objects other than weights, which could run "
        f"code ({f'it refers to {named}' if named else text}). Save its state_dict() alone, or as "
        ".safetensors."
    )


def _read_safetensors(name: str) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(f"{name}: install the package safetensors to read it.") from error
    return dict(load_file(name))


def _from_model_zoo(name: str, data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise UserError(f"{name} holds a {type(data).__name__} instead of named weights.")
    if "model" in data or any(key in data for key in _AVERAGES):
        return _with_weights(name, data)
    # Caffe2 / Detectron1: detectors keep their arrays under "blobs", ImageNet models do not.
    blobs = data.get("blobs", data)
    weights = {k: v for k, v in blobs.items() if not k.endswith("_momentum")}
    return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}


def _from_pycls(name: str, loaded: Any) -> dict[str, Any]:
    if not isinstance(loaded, dict) or "model_state" not in loaded:
        raise UserError(f"{name}: a .pyth file must hold 'model_state', as pycls writes it.")
    weights = {
        k: v for k, v in loaded["model_state"].items() if not k.endswith("num_batches_tracked")
    }
    return {"model": weights, "__author__": "pycls", "matching_heuristics": True}


def _with_weights(name: str, loaded: Any) -> dict[str, Any]:
    """The file's content with its weights under ``model``."""
    if not isinstance(loaded, dict):
        raise UserError(f"{name} holds a {type(loaded).__name__} instead of named weights.")
    content = dict(loaded)
    average = _take(name, content, _AVERAGES)
    weights = _take(name, content, _WEIGHTS)
    if average is not None:
        logger.info("%s: taking the moving average of the weights.", name)
        # Averages may leave out what is not trained
        weights = average if weights is None else weights
        weights.update(average)
    if weights is None:
        weights, content = _unwrapped(name, loaded), {}
    return {**content, "model": weights}


def _take(name: str, content: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any] | None:
    found = next((key for key in keys if isinstance(content.get(key), dict)), None)
    return None if found is None else _unwrapped(name, content.pop(found))


def _unwrapped(name: str, weights: dict[str, Any]) -> dict[str, Any]:
    """Named arrays, out of containers in the container and without the wrappers' prefixes.

    The dict stays the same object: PyTorch keeps the versions of modules as an attribute of it.
    """
    for key in ("module", *_WEIGHTS):
        if isinstance(weights.get(key), dict):
            return _unwrapped(name, weights[key])
    wrong = next((k for k, v in weights.items() if not _is_array(v)), None)
    if wrong is not None or not weights:
        entries = ", ".join(map(str, list(weights)[:6])) or "nothing"
        raise UserError(f"{name} holds no named weights that are known here; it has: {entries}.")
    for prefix in _WRAPPERS * 2:  # they can be nested either way
        _strip_prefix_if_present(weights, prefix)
    return weights


def _is_array(value: Any) -> bool:
    # Others, which PyTorch's files can hold, have no values that could be copied
    return isinstance(value, np.ndarray) or (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_nested)
    )
