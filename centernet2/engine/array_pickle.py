"""NumPy arrays and scalars out of pickles, rebuilt by code that knows numbers only.

A pickle calls what it names, so nothing of NumPy itself is offered to it: arrays of objects would
carry any object, and ``numpy.dtype`` takes flags that are trusted with memory. The stand-ins below
bear NumPy's names and build arrays from a number type, a shape and bytes.
"""

from __future__ import annotations

import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Union

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["ForeignObject", "allow_arrays", "arrays_of", "load_arrays"]

_NUMBER = re.compile(r"[<>=|]?([?bBhHiIlLqQefd]|b1|[iu][1248]|f[248]|c8|c16)")
_Raw = Union[bytes, bytearray, str]


class ForeignObject(pickle.UnpicklingError):
    """A pickle refers to something that is neither an array nor a plain value."""


class _Dtype:
    """Stands for ``numpy.dtype``: a type of numbers and its byte order."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if not isinstance(code, str) or not _NUMBER.fullmatch(code):
            raise ForeignObject(f"it holds an array of the type {code!r}, which are not numbers")
        self._code = code.lstrip("<>=|")
        self._order = code[0] if code[0] in "<>" else "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self._order = state[1]

    def resolve(self) -> np.dtype[Any]:
        return np.dtype(self._order + self._code)


class _Array:
    """Stands for ``numpy.ndarray`` until its content is known."""

    value: npt.NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        # NumPy before 1.0 wrote no version in front
        shape, dtype, columns_first, raw = state[-4:]
        self.value = _frombuffer(raw, dtype, shape, "F" if columns_first else "C").value


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    if kind is not _Array:
        raise ForeignObject("it holds an array of a class of its own")
    return _Array()


def _frombuffer(raw: _Raw, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    swapped = _numbers(raw, dtype).reshape(shape, order="F" if order == "F" else "C")
    # A copy in the machine's byte order: PyTorch takes no other, and the bytes are read-only
    array.value = swapped.astype(swapped.dtype.newbyteorder("="))
    return array


def _scalar(dtype: _Dtype, raw: _Raw) -> Any:
    return _numbers(raw, dtype)[0]


def _numbers(raw: _Raw, dtype: _Dtype) -> npt.NDArray[Any]:
    if not isinstance(dtype, _Dtype):
        raise ForeignObject("it holds an array without a type")
    # Pickles of Python 2 hold bytes as text
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(data, (bytes, bytearray)):
        raise ForeignObject("it holds an array of Python objects")
    return np.frombuffer(data, dtype.resolve())


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


def _named(function: Callable[..., Any], module: str, name: str) -> Callable[..., Any]:
    """A function of its own under a NumPy name: PyTorch allows functions by their names."""

    def stand_in(*args: Any) -> Any:
        return function(*args)

    stand_in.__module__ = module
    stand_in.__name__ = stand_in.__qualname__ = name
    return stand_in


for _class, _name in ((_Dtype, "dtype"), (_Array, "ndarray")):
    _class.__module__ = "numpy"
    _class.__name__ = _class.__qualname__ = _name

# NumPy 2 moved numpy.core to numpy._core; files have either
_PARTS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    **{
        (f"numpy.{core}.{module}", name): _named(function, f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PARTS:
            return _PARTS[module, name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if (module, name) == ("__builtin__", "bytes"):  # how old protocols write b""
            return _no_bytes
        raise ForeignObject(f"it refers to {module}.{name}")


def load_arrays(data: bytes) -> Any:
    """Unpickle containers of arrays, numbers and text; pickles of Python 2 too.

    Raises:
        ForeignObject: if there is anything else in it.
        Exception: of many kinds, if the data is damaged.
    """
    return arrays_of(_Unpickler(io.BytesIO(data), encoding="latin1").load())


@contextmanager
def allow_arrays() -> Iterator[None]:
    """Let ``torch.load(..., weights_only=True)`` read NumPy arrays and scalars of numbers.

    Its result goes through :func:`arrays_of`.
    """
    before = list(torch.serialization.get_safe_globals())  # PyTorch 2.4 returns its own list
    torch.serialization.add_safe_globals(list(_PARTS.values()))
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def arrays_of(loaded: Any) -> Any:
    """Put arrays in the place of their stand-ins, in dicts and lists in place."""
    if isinstance(loaded, _Array):
        if loaded.value is None:
            raise ForeignObject("it holds an array without content")
        return loaded.value
    if isinstance(loaded, dict):
        for key, value in loaded.items():
            loaded[key] = arrays_of(value)
    elif isinstance(loaded, list):
        loaded[:] = [arrays_of(value) for value in loaded]
    elif type(loaded) is tuple:
        return tuple(arrays_of(value) for value in loaded)
    return loaded
