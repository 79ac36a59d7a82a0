"""Graph models of TensorFlow.js: written here by hand, whole and damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from centernet2.engine.tfjs_weights import read_tfjs
from centernet2.errors import UserError

HALF = {"dtype": "float16", "original_dtype": "float32"}


@pytest.fixture
def model(tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """A model of three constants, as its JSON value, and where to write it."""
    content = np.arange(6, dtype="<f2").tobytes()
    content += np.array([7, -8], dtype="<i4").tobytes() + np.float32(2.5).tobytes()
    (tmp_path / "w.bin").write_bytes(content)
    weights = [
        {"name": "a", "shape": [2, 3], "dtype": "float32", "quantization": HALF},
        {"name": "b", "shape": [2], "dtype": "int32"},
        {"name": "c", "shape": [], "dtype": "float32"},
    ]
    value = {
        "format": "graph-model",
        "weightsManifest": [{"paths": ["w.bin"], "weights": weights}],
    }
    return value, tmp_path / "model.json"


def written(model: tuple[Any, Path]) -> Path:
    value, path = model
    path.write_text(json.dumps(value))
    return path


def test_every_constant_is_read(model: tuple[dict[str, Any], Path]) -> None:
    arrays = read_tfjs(written(model))
    assert list(arrays) == ["a", "b", "c"]
    np.testing.assert_array_equal(arrays["a"], [[0, 1, 2], [3, 4, 5]])
    assert arrays["a"].dtype == np.float16
    assert arrays["b"].tolist() == [7, -8]
    assert arrays["c"].shape == ()
    assert arrays["c"] == 2.5


def first(value: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = value["weightsManifest"][0]["weights"][0]
    return entry


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no manifest": (lambda v: v.pop("weightsManifest"), "no weightsManifest of one group"),
    "two files": (
        lambda v: v["weightsManifest"][0]["paths"].append("x.bin"),
        "do not lie in one file",
    ),
    "a file elsewhere": (
        lambda v: v["weightsManifest"][0].update(paths=["../w.bin"]),
        r"'\.\./w\.bin' is not beside it",
    ),
    "no such file": (
        lambda v: v["weightsManifest"][0].update(paths=["x.bin"]),
        r"x\.bin cannot be read",
    ),
    "a name of another type": (lambda v: first(v).update(name=3), "a weight has no name"),
    "twice": (lambda v: first(v).update(name="b"), "names 'b' twice"),
    "a negative side": (lambda v: first(v).update(shape=[-2, 3]), r"shape of 'a' is \[-2, 3\]"),
    "a true side": (lambda v: first(v).update(shape=[True]), r"shape of 'a' is \[True\]"),
    "more than there is": (
        lambda v: first(v).update(shape=[2**40, 2**40]),
        r"w\.bin is cut short: model\.json tells of 'a'",
    ),
    "less than there is": (lambda v: first(v).update(shape=[2, 2]), "they are of different models"),
    "another type": (lambda v: first(v).update(dtype="string"), "'a' is of the unknown type"),
    "whole numbers with a scale": (
        lambda v: first(v).update(quantization={"dtype": "uint8", "scale": 1, "min": 0}),
        "'a' is of the unknown type",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(damage: str, model: tuple[dict[str, Any], Path]) -> None:
    change, message = DAMAGES[damage]
    change(model[0])
    with pytest.raises(UserError, match=message):
        read_tfjs(written(model))


@pytest.mark.parametrize("value", [[], 3, {"weightsManifest": [3]}])
def test_other_json_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a TensorFlow.js graph model"):
        read_tfjs(written((value, tmp_path / "model.json")))
