"""Files of each format."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from centernet2.engine.atomic import atomic_write
from centernet2.errors import UserError
from centernet2.export.extras import extra
from centernet2.export.file_info import KEY, FileInfo
from centernet2.export.graph import DetectorGraph
from centernet2.layers import DeformConv, ModulatedDeformConv

__all__ = ["convert_to_openvino", "save_onnx", "write_onnx", "write_torchscript"]

OPSET = 17  # RoiAlign and GridSample are as PyTorch has them from 16 on


def write_torchscript(
    graph: DetectorGraph, pixels: npt.NDArray[np.uint8], info: FileInfo, path: Path
) -> None:
    """Write a TorchScript file, which ``torch.jit.load`` reads once torchvision is imported.

    Args:
        graph: the model.
        pixels: ``(H, W, 3)`` RGB, to record with.
        info: put into the file.
        path: of the file.
    """
    with _quiet(), torch.no_grad():
        traced = torch.jit.trace(graph.eval(), torch.from_numpy(pixels), check_trace=False)
    with atomic_write(path) as file:
        torch.jit.save(traced, file, _extra_files={KEY: info.to_json()})


def write_onnx(
    graph: DetectorGraph, pixels: npt.NDArray[np.uint8], info: FileInfo, path: Path
) -> None:
    """Write an ONNX file.

    Args:
        graph: the model.
        pixels: ``(H, W, 3)`` RGB, to record with; where ``info.size`` is set, of this size.
        info: put into the file.
        path: of the file.

    Raises:
        UserError: ONNX has no operator for a part of the model.
    """
    if any(isinstance(module, (DeformConv, ModulatedDeformConv)) for module in graph.modules()):
        raise UserError(
            "ONNX has no operator for deformable convolutions: take --format torchscript"
        )
    onnx = extra("onnx")
    names = graph.output_names
    axes = {name: {0: "detections"} for name in names}
    if info.size is None:
        axes["image"] = {0: "height", 1: "width"}
    if "masks" in names and info.masks == "image":
        axes["masks"].update({1: "height", 2: "width"})
    # The other exporter, which newer PyTorch takes by default, cannot record this graph
    known = inspect.signature(torch.onnx.export).parameters
    choice: dict[str, Any] = {"dynamo": False} if "dynamo" in known else {}
    with tempfile.TemporaryDirectory() as folder, _quiet(), torch.no_grad():
        draft = os.path.join(folder, "model.onnx")
        try:
            torch.onnx.export(
                graph.eval(),
                (torch.from_numpy(pixels),),
                draft,
                input_names=["image"],
                output_names=names,
                dynamic_axes=axes,
                opset_version=OPSET,
                **choice,
            )
        except torch.onnx.errors.UnsupportedOperatorError as error:
            operators = re.findall(r"\w+::\w+", str(error))
            raise UserError(
                f"ONNX has no operator for {' '.join(operators) or 'a part of this model'}: "
                "take --format torchscript"
            ) from error
        model = onnx.load(draft)
    save_onnx(model, info, path)


def save_onnx(model: Any, info: FileInfo, path: Path) -> None:
    """Write an ``onnx.ModelProto``, with its description in it."""
    extra("onnx").helper.set_model_props(model, {KEY: info.to_json()})
    with atomic_write(path) as file:
        file.write(model.SerializeToString())


def convert_to_openvino(source: Path, info: FileInfo, path: Path) -> None:
    """Turn an ONNX file into OpenVINO's two: ``.xml`` and, beside it, ``.bin``.

    Args:
        source: the ONNX file.
        info: put into the files.
        path: of the ``.xml``.
    """
    openvino = extra("openvino")
    model = openvino.convert_model(source)
    model.set_rt_info(info.to_json(), [KEY])
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, path, compress_to_fp16=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what tracing says of shapes that are the same for every image."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for kind in (torch.jit.TracerWarning, DeprecationWarning, UserWarning, FutureWarning):
            warnings.simplefilter("ignore", kind)
        try:
            yield
        finally:
            logger.setLevel(level)
