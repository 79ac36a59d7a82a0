"""NumPy arrays and scalars out of pickles, rebuilt by code that knows numbers only.

A pickle calls what it names, so nothing of NumPy itself is offered to it: arrays of objects would
carry any object, and ``numpy.dtype`` takes flags that are trusted with memory. The stand-ins below
bear NumPy's names and build arrays from a number type, a shape and bytes. A small file can neither
grow beyond its size nor keep the reader busy without end.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
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
    """Stands for ``numpy.ndarray``; what it holds is copied when the whole file has been read."""

    raw: _Raw | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        # NumPy before 1.0 wrote no version in front
        self.shape, self.dtype, columns_first, self.raw = state[-4:]
        self.order = "F" if columns_first else "C"

    def resolve(self) -> npt.NDArray[Any]:
        if self.raw is None:
            raise ForeignObject("it holds an array without content")
        swapped = _numbers(self.raw, self.dtype)
        swapped = swapped.reshape(self.shape, order="F" if self.order == "F" else "C")
        # A copy in the machine's byte order: PyTorch takes no other, and the bytes are read-only
        return swapped.astype(swapped.dtype.newbyteorder("="))


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    if kind is not _Array:
        raise ForeignObject("it holds an array of a class of its own")
    return _Array()


def _frombuffer(raw: _Raw, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.__setstate__((shape, dtype, order == "F", raw))
    return array


def _scalar(dtype: _Dtype, raw: _Raw) -> Any:
    return _numbers(raw[:16], dtype)[0]


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


_KEYS = (str, bytes, int, float, type(None), np.generic)


def _check_keys(keys: Any) -> None:
    # Nested tuples of tuples can take for ever to hash
    for key in keys:
        if not isinstance(key, _KEYS):
            raise ForeignObject(f"it holds a dict with a {type(key).__name__} for a key")


def _ordered_dict(pairs: Any = ()) -> OrderedDict[Any, Any]:
    pairs = list(pairs)
    _check_keys(key for key, _ in pairs)
    return OrderedDict(pairs)


def _member(kind: Any, name: Any) -> Any:
    if not (isinstance(kind, type) and issubclass(kind, Enum) and name in kind.__members__):
        raise ForeignObject("it refers to getattr")
    return kind[name]


# Written in Python: the one written in C takes memory for whatever index a file names
_Reader: Any = pickle._Unpickler


class _Unpickler(_Reader):
    """Python's own, with the instructions that could be misused replaced."""

    dispatch = dict(_Reader.dispatch)

    def __init__(self, data: bytes, also: Mapping[tuple[str, str], Callable[..., Any]]) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._size = len(data)
        self._also = also

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PARTS:
            return _PARTS[module, name]
        if (module, name) in self._also:
            return self._also[module, name]
        if (module, name) == ("collections", "OrderedDict"):
            return _ordered_dict
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if name == "getattr" and module in ("builtins", "__builtin__"):
            return _member  # how early releases of Python 3.11 write members of enumerations
        if (module, name) == ("__builtin__", "bytes"):  # how old protocols write b""
            return _no_bytes
        raise ForeignObject(f"it refers to {module}.{name}")

    def _set_item(self) -> None:
        _check_keys(self.stack[-2:-1])
        super().load_setitem()

    def _set_items(self) -> None:
        _check_keys(self.stack[::2])
        super().load_setitems()

    def _dict(self) -> None:
        _check_keys(self.stack[::2])
        super().load_dict()

    def _build(self) -> None:
        target, state = self.stack[-2:]
        if isinstance(target, OrderedDict):
            # PyTorch keeps the versions of modules there
            kept = state.get("_metadata") if isinstance(state, dict) else None
            if kept is not None:
                target._metadata = kept  # type: ignore[attr-defined]
            self.stack.pop()
        elif isinstance(target, (_Array, _Dtype)):
            super().load_build()
        else:
            raise ForeignObject(f"it gives a state to a {type(target).__name__}")

    def _bytearray(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        if size > self._size:
            raise EOFError("it names more bytes than it has")
        self.append(bytearray(self.read(size)))

    def _sets(self) -> None:
        raise ForeignObject("it holds a set")

    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items
    dispatch[pickle.DICT[0]] = _dict
    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.BYTEARRAY8[0]] = _bytearray
    dispatch[pickle.EMPTY_SET[0]] = dispatch[pickle.FROZENSET[0]] = _sets


def load_arrays(
    data: bytes, also: Mapping[tuple[str, str], Callable[..., Any]] | None = None
) -> Any:
    """Unpickle containers of arrays, numbers and text; pickles of Python 2 too.

    Args:
        data: the pickle.
        also: what else it may call, by module and name.

    Raises:
        ForeignObject: if there is anything else in it.
        Exception: of many kinds, if the data is damaged.
    """
    return arrays_of(_Unpickler(data, also or {}).load(), len(data))


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


def arrays_of(loaded: Any, size: int) -> Any:
    """Put arrays in the place of their stand-ins, in dicts and lists in place.

    Args:
        loaded: what the unpickler returned.
        size: bytes of the file; its arrays hold no more.

    Raises:
        ForeignObject: if the arrays are larger than the file, or one has no content.
    """
    return _Filling(size).of(loaded)


class _Filling:
    def __init__(self, size: int) -> None:
        self._left = size
        # What is shared is looked at once; it is kept, so that no other gets its id
        self._done: dict[int, tuple[Any, Any]] = {}

    def of(self, value: Any) -> Any:
        if not isinstance(value, (_Array, dict, list, tuple)):
            return value
        if id(value) not in self._done:
            self._done[id(value)] = (value, value)  # what is inside itself ends here
            self._done[id(value)] = (value, self._filled(value))
        return self._done[id(value)][1]

    def _filled(self, value: Any) -> Any:
        if isinstance(value, _Array):
            self._left -= len(value.raw or ())
            if self._left < 0:
                raise ForeignObject("its arrays are larger than the file")
            return value.resolve()
        if isinstance(value, dict):
            for key, part in value.items():
                value[key] = self.of(part)
        elif isinstance(value, list):
            value[:] = [self.of(part) for part in value]
        elif type(value) is tuple:
            return tuple(self.of(part) for part in value)
        return value
