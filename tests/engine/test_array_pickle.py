"""Arrays come out of pickles as they went in; nothing else does."""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from centernet2.engine.array_pickle import ForeignObject, allow_arrays, arrays_of, load_arrays

NUMBERS = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(endianness="?"),
    npst.unsigned_integer_dtypes(endianness="?"),
    npst.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    npst.complex_number_dtypes(endianness="?", sizes=(64, 128)),
)


def same(a: Any, b: Any) -> bool:
    return np.asarray(a).astype(np.asarray(b).dtype).tobytes() == np.asarray(b).tobytes()


@given(data=st.data(), protocol=st.integers(2, 5), columns=st.booleans())
@settings(max_examples=150, deadline=None)
def test_arrays_survive_bit_by_bit(data: st.DataObject, protocol: int, columns: bool) -> None:
    dtype = data.draw(NUMBERS)
    array = data.draw(npst.arrays(dtype, npst.array_shapes(min_dims=0, min_side=0)))
    array = np.asfortranarray(array) if columns and array.ndim else array
    loaded = load_arrays(pickle.dumps({"a": [array]}, protocol=protocol))["a"][0]
    assert loaded.shape == array.shape
    assert loaded.dtype == array.dtype.newbyteorder("=")
    assert same(loaded, array)
    assert loaded.flags.writeable


@pytest.mark.parametrize("protocol", range(2, 6))
def test_scalars_keep_type_and_value(protocol: int) -> None:
    values = [np.float64(0.02), np.float32(1.5), np.int64(-3), np.bool_(True), np.uint8(255)]
    loaded = load_arrays(pickle.dumps(values, protocol=protocol))
    assert loaded == values
    assert [type(v) for v in loaded] == [type(v) for v in values]


def with_module(data: bytes, module: bytes) -> bytes:
    """A protocol-2 pickle as the other major version of NumPy writes it."""
    return data.replace(b"numpy._core.", b"numpy.core.").replace(b"numpy.core.", module)


@pytest.mark.parametrize("module", [b"numpy.core.", b"numpy._core."])
def test_names_of_both_versions_of_numpy(module: bytes, tmp_path: Path) -> None:
    content = {"lr": np.float64(0.25), "table": np.arange(6.0).reshape(2, 3)}
    pickled = with_module(pickle.dumps(content, protocol=2), module)
    assert module in pickled
    loaded = load_arrays(pickled)
    assert loaded["lr"] == 0.25 and np.array_equal(loaded["table"], content["table"])

    path = tmp_path / "old.pth"
    torch.save(content, path, _use_new_zipfile_serialization=False)
    path.write_bytes(with_module(path.read_bytes(), module))
    with allow_arrays():
        loaded = arrays_of(torch.load(path, weights_only=True), path.stat().st_size)
    assert loaded["lr"] == 0.25 and np.array_equal(loaded["table"], content["table"])


def test_a_pickle_of_python_2_holds_bytes_as_text() -> None:
    # What Python 2 wrote for numpy.array([1, 2], dtype='<i2')
    pickled = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\n"
        b"dtype\n(S'i2'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x01\\x00\\x02\\x00'\ntb."
    )
    assert load_arrays(pickled).tolist() == [1, 2]


def test_permissions_end_with_the_context() -> None:
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals([collections.deque])
    try:
        with allow_arrays():
            assert len(torch.serialization.get_safe_globals()) > 1
        assert torch.serialization.get_safe_globals() == [collections.deque]
    finally:
        torch.serialization.clear_safe_globals()


class Harmful:
    def __reduce__(self) -> Any:
        return os.system, ("touch pwned",)


class OwnArray(np.ndarray):
    pass


REFUSED = {
    "a call": Harmful(),
    "objects in an array": np.array([Harmful(), None], dtype=object),
    "text in an array": np.array(["a"]),
    "a record": np.zeros(2, dtype=[("a", "f4"), ("b", "O")]),
    "a class of arrays": np.zeros(2).view(OwnArray),
    "a random generator": np.random.default_rng(0),
    "a file name": Path("x"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("protocol", [2, 5])
def test_anything_else_is_refused(
    kind: str, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ForeignObject):
        load_arrays(pickle.dumps([REFUSED[kind]], protocol=protocol))
    torch.save([REFUSED[kind]], "x.pth")
    with pytest.raises(pickle.UnpicklingError), allow_arrays():
        torch.load("x.pth", weights_only=True)
    assert not Path("pwned").exists()


def test_an_array_never_filled_is_refused() -> None:
    with pytest.raises(ForeignObject, match="without content"):
        load_arrays(b"cnumpy\nndarray\n)\x81.")


def test_a_shape_beyond_the_data_is_refused() -> None:
    pickled = pickle.dumps(np.zeros(4, dtype=np.float32), protocol=2)
    with pytest.raises(ValueError, match="reshape"):
        load_arrays(pickled.replace(b"K\x04\x85", b"K\x7f\x85"))


class Shared:
    """Pickled as an array whose bytes another array of the same pickle has."""

    def __init__(self, raw: bytes, code: str = "u1") -> None:
        self.raw = raw
        self.code = code

    def __reduce__(self) -> Any:
        state = (1, (len(self.raw),), np.dtype(self.code), False, self.raw)
        return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), state  # type: ignore[attr-defined]


def test_arrays_larger_than_the_file_are_refused() -> None:
    """A thousand arrays that name the same million bytes would fill a thousand times as much."""
    raw = bytes(1_000_000)
    pickled = pickle.dumps([Shared(raw) for _ in range(1000)], protocol=2)
    assert len(pickled) < 1_100_000
    with pytest.raises(ForeignObject, match="larger than the file"):
        load_arrays(pickled)
    assert load_arrays(pickle.dumps([Shared(raw)], protocol=2))[0].size == len(raw)


def test_what_is_shared_is_looked_at_once() -> None:
    """Without that, 2^200 steps."""
    nested: Any = [np.arange(3)]
    for _ in range(200):
        nested = [nested, nested]
    loaded = load_arrays(pickle.dumps(nested))
    for _ in range(200):
        assert loaded[0] is loaded[1]
        loaded = loaded[0]
    assert loaded[0].tolist() == [0, 1, 2]


def test_a_list_inside_itself_is_read() -> None:
    inside: list[Any] = [np.arange(2)]
    inside.append(inside)
    loaded = load_arrays(pickle.dumps(inside))
    assert loaded[1] is loaded and loaded[0].tolist() == [0, 1]


def with_key(instructions: bytes) -> bytes:
    """A pickle of a dict whose key is that key, by the given instructions."""
    key = b")" + b"2\x86" * 200  # (), then 200 times: the pair of it with itself
    return instructions.replace(b"KEY", key)


@pytest.mark.parametrize(
    "pickled",
    [
        with_key(b"\x80\x02}KEYK\x01s."),
        with_key(b"\x80\x02}(KEYK\x01u."),
        with_key(b"\x80\x02(KEYK\x01d."),
        with_key(b"\x80\x02ccollections\nOrderedDict\n](KEYK\x01\x86e\x85R."),
        with_key(b"\x80\x04\x8f(KEY\x90."),
        with_key(b"\x80\x04(KEY\x91."),
    ],
    ids=["SETITEM", "SETITEMS", "DICT", "OrderedDict", "set", "frozenset"],
)
def test_keys_that_take_for_ever_to_hash_are_refused(pickled: bytes) -> None:
    with pytest.raises(ForeignObject, match="a dict with a tuple for a key|it holds a set"):
        load_arrays(pickled)


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02cnumpy.core.multiarray\nscalar\nN}X\x08\x00\x00\x00__name__K\x01s\x86b.",
        b"\x80\x02]}X\x01\x00\x00\x00aK\x01sb.",
        b"\x80\x02cnumpy\ndtype\n}X\x01\x00\x00\x00aK\x01sb.",
    ],
    ids=["a function", "a list", "a class"],
)
def test_states_reach_arrays_only(pickled: bytes) -> None:
    """What is loaded first could otherwise change how the next file is read."""
    with pytest.raises(ForeignObject, match="gives a state to a"):
        load_arrays(pickled)


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02Nr\xff\xff\xff\x7f.",
        b"\x80\x02NR\xff\xff\xff\xff.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\x00\x00\x00a.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\x00\x00\x00N.",
        b"\x80\x02\x8b\xff\xff\xff\x7f1.",
    ],
    ids=["LONG_BINPUT", "REDUCE", "BYTEARRAY8", "BINBYTES8", "FRAME", "LONG4"],
)
def test_sizes_beyond_the_file_take_no_memory(pickled: bytes) -> None:
    """Some tens of gigabytes otherwise, where this can end a machine."""
    tracemalloc.start()
    try:
        with contextlib.suppress(Exception):
            load_arrays(pickled)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
