"""Runs a graph model of TensorFlow.js as its JSON file says, node by node, in NumPy.

It shares nothing with the package: neither the reading of the weights nor any layer. It knows the
operators of one graph and only the forms of them that occur there, which it asserts.
"""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Graph:
    """The graph ``path`` and its constants."""

    def __init__(self, path: Path) -> None:
        model = json.loads(path.read_text())
        self.nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
        (group,) = model["weightsManifest"]
        buffer = path.with_name(group["paths"][0]).read_bytes()
        self.constants = {}
        for weight in group["weights"]:
            stored = weight.get("quantization", weight)["dtype"]
            kind = np.dtype({"float16": "<f2", "float32": "<f4", "int32": "<i4"}[stored])
            count = int(np.prod(weight["shape"]))
            part = np.frombuffer(buffer[: count * kind.itemsize], kind).reshape(weight["shape"])
            buffer = buffer[count * kind.itemsize :]
            self.constants[weight["name"]] = part.astype(weight["dtype"])

    def run(self, inputs: dict[str, Array], outputs: list[str]) -> list[Array]:
        """The values of the nodes ``outputs``."""

        @cache
        def value(name: str) -> Any:
            name = name.partition(":")[0]
            if name in inputs:
                return inputs[name]
            if name in self.constants:
                return self.constants[name]
            node = self.nodes[name]
            arguments = [value(i) if ":" not in i else value(i)[int(i[-1])] for i in node["input"]]
            # An operator of two results is asked for the first of them by its bare name
            arguments = [a[0] if isinstance(a, tuple) else a for a in arguments]
            operator = getattr(self, f"op_{node['op'].lower().lstrip('_')}")
            return operator(node.get("attr", {}), *arguments)

        return [value(name) for name in outputs]

    @staticmethod
    def op_fusedconv2d(attr: dict[str, Any], x: Array, kernel: Array, bias: Array) -> Array:
        y = convolved(attr, x, kernel) + bias
        operations = texts(attr["fused_ops"]["list"]["s"])
        assert operations in (["BiasAdd"], ["BiasAdd", "Relu"])
        return np.maximum(y, 0) if operations[-1] == "Relu" else y

    @staticmethod
    def op_conv2d(attr: dict[str, Any], x: Array, kernel: Array) -> Array:
        return convolved(attr, x, kernel)

    @staticmethod
    def op_fuseddepthwiseconv2dnative(
        attr: dict[str, Any], x: Array, kernel: Array, bias: Array
    ) -> Array:
        y = convolved(attr, x, kernel, depthwise=True) + bias
        operations = texts(attr["fused_ops"]["list"]["s"])
        assert operations in (["BiasAdd"], ["BiasAdd", "Relu"])
        return np.maximum(y, 0) if operations[-1] == "Relu" else y

    @staticmethod
    def op_depthwiseconv2dnative(attr: dict[str, Any], x: Array, kernel: Array) -> Array:
        return convolved(attr, x, kernel, depthwise=True)

    @staticmethod
    def op_mul(attr: dict[str, Any], a: Array, b: Array) -> Array:
        return a * b

    @staticmethod
    def op_add(attr: dict[str, Any], a: Array, b: Array) -> Array:
        return a + b

    @staticmethod
    def op_sub(attr: dict[str, Any], a: Array, b: Array) -> Array:
        return a - b

    @staticmethod
    def op_floordiv(attr: dict[str, Any], a: Array, b: Array) -> Array:
        return a // b

    @staticmethod
    def op_floormod(attr: dict[str, Any], a: Array, b: Array) -> Array:
        return a % b

    @staticmethod
    def op_equal(attr: dict[str, Any], a: Array, b: Array) -> Array:
        return a == b

    @staticmethod
    def op_identity(attr: dict[str, Any], x: Array) -> Array:
        return x

    @staticmethod
    def op_relu(attr: dict[str, Any], x: Array) -> Array:
        return np.maximum(x, 0)

    @staticmethod
    def op_relu6(attr: dict[str, Any], x: Array) -> Array:
        return np.clip(x, 0, 6)

    @staticmethod
    def op_sigmoid(attr: dict[str, Any], x: Array) -> Array:
        return 1 / (1 + np.exp(-x))

    @staticmethod
    def op_mean(attr: dict[str, Any], x: Array, axes: Array) -> Array:
        return x.mean(axis=tuple(axes.tolist()), keepdims=attr["keep_dims"]["b"])

    @staticmethod
    def op_concatv2(attr: dict[str, Any], *arguments: Array) -> Array:
        *parts, axis = arguments
        return np.concatenate(parts, axis=int(axis))

    @staticmethod
    def op_reshape(attr: dict[str, Any], x: Array, shape: Array) -> Array:
        return x.reshape(shape)

    @staticmethod
    def op_cast(attr: dict[str, Any], x: Array) -> Array:
        return x.astype({"DT_FLOAT": np.float32, "DT_INT32": np.int32}[attr["DstT"]["type"]])

    @staticmethod
    def op_expanddims(attr: dict[str, Any], x: Array, axis: Array) -> Array:
        return np.expand_dims(x, int(axis))

    @staticmethod
    def op_gatherv2(attr: dict[str, Any], x: Array, index: Array, axis: Array) -> Array:
        return np.take(x, index, axis=int(axis))

    @staticmethod
    def op_stridedslice(
        attr: dict[str, Any], x: Array, begin: Array, end: Array, step: Array
    ) -> Array:
        def masked(name: str, place: int) -> bool:
            return bool(int(attr[name]["i"]) >> place & 1)

        for name in ("shrink_axis_mask", "new_axis_mask", "ellipsis_mask"):
            assert int(attr[name]["i"]) == 0
        return x[
            tuple(
                slice(
                    None if masked("begin_mask", place) else int(begin[place]),
                    None if masked("end_mask", place) else int(end[place]),
                    int(step[place]),
                )
                for place in range(len(begin))
            )
        ]

    @staticmethod
    def op_maxpool(attr: dict[str, Any], x: Array) -> Array:
        assert attr["ksize"]["list"]["i"] == ["1", "3", "3", "1"]
        assert attr["strides"]["list"]["i"] == ["1", "1", "1", "1"]
        height, width = x.shape[1:3]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
        windows = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        return np.maximum.reduce(windows)

    @staticmethod
    def op_topkv2(attr: dict[str, Any], x: Array, number: Array) -> tuple[Array, Array]:
        index = np.argsort(-x, axis=-1, kind="stable")[..., : int(number)]  # the lower index first
        return np.take_along_axis(x, index, -1), index.astype(np.int32)

    @staticmethod
    def op_resizebilinear(attr: dict[str, Any], x: Array, size: Array) -> Array:
        assert not attr["align_corners"]["b"]
        assert not attr["half_pixel_centers"]["b"]
        for axis in (1, 2):
            cells = x.shape[axis]
            place = np.arange(size[axis - 1]) * (cells / size[axis - 1])
            low = np.floor(place).astype(int)
            share = (place - low).astype(np.float32).reshape((-1, 1, 1) if axis == 1 else (-1, 1))
            high = np.minimum(low + 1, cells - 1)
            x = x.take(low, axis) * (1 - share) + x.take(high, axis) * share
        return x


def texts(encoded: list[str]) -> list[str]:
    return [base64.b64decode(text).decode() for text in encoded]


def convolved(attr: dict[str, Any], x: Array, kernel: Array, depthwise: bool = False) -> Array:
    """``(1, H, W, C)`` by ``(h, w, in, out)``, or by ``(h, w, C, 1)`` channel by channel."""
    assert texts([attr["padding"]["s"]])[0] in ("SAME", "VALID")
    same = texts([attr["padding"]["s"]]) == ["SAME"]
    stride = int(attr["strides"]["list"]["i"][1])
    places, padding = [], [(0, 0)]
    for size, extent in zip(x.shape[1:3], kernel.shape[:2]):
        number = -(-size // stride) if same else (size - extent) // stride + 1
        total = max((number - 1) * stride + extent - size, 0)
        padding.append((total // 2, total - total // 2))
        places.append(number)
    padded = np.pad(x, (*padding, (0, 0)))
    result = np.float32(0)
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            rows = slice(i, i + (places[0] - 1) * stride + 1, stride)
            columns = slice(j, j + (places[1] - 1) * stride + 1, stride)
            window = padded[:, rows, columns]
            tap = kernel[i, j]
            result = result + (window * tap[:, 0] if depthwise else window @ tap)
    return result
