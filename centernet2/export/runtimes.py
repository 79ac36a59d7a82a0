"""Exported files, loaded and run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchvision  # noqa: F401  (registers the operators that TorchScript files hold)

from centernet2.errors import UserError
from centernet2.export.extras import extra
from centernet2.export.file_info import KEY, FileInfo
from centernet2.export.formats import SUFFIXES, format_of

__all__ = ["ExportedFile", "load_exported"]

Pixels = npt.NDArray[np.uint8]
Outputs = dict[str, npt.NDArray[Any]]


class ExportedFile:
    """A model in a file: pixels in, arrays out.

    Attributes:
        info: what the file says of itself.
        runtime: name of what runs it.
    """

    info: FileInfo
    runtime: str

    def __call__(self, pixels: Pixels) -> Outputs:
        """Run the model.

        Args:
            pixels: ``(H, W, 3)`` RGB.

        Returns:
            ``boxes``, ``scores``, ``labels`` and, where the model has them, ``masks``; see
            :meth:`~centernet2.export.graph.DetectorGraph.forward`.
        """
        raise NotImplementedError


class _OnnxRuntime(ExportedFile):
    def __init__(self, path: Path, threads: int) -> None:
        onnxruntime = extra("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Its threads would go on turning for a while after each image, on cores that others need
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no common class
            raise _unreadable(path, "ONNX Runtime", error) from error
        self._names = [output.name for output in self._session.get_outputs()]
        properties = self._session.get_modelmeta().custom_metadata_map
        self.info = FileInfo.from_json(properties.get(KEY), path)
        self.runtime = f"ONNX Runtime {onnxruntime.__version__}"

    def __call__(self, pixels: Pixels) -> Outputs:
        return dict(zip(self._names, self._session.run(None, {"image": pixels})))


class _OpenVino(ExportedFile):
    """Reads OpenVINO's own files, and ONNX files too."""

    def __init__(self, path: Path, threads: int) -> None:
        openvino = extra("openvino")
        try:
            model = openvino.Core().read_model(path)
        except Exception as error:
            raise _unreadable(path, "OpenVINO", error) from error
        places = [[KEY], ["framework", KEY]]  # where an ONNX file's properties come to lie
        found = [place for place in places if model.has_rt_info(place)]
        text = model.get_rt_info(found[0]).astype(str) if found else None
        self.info = FileInfo.from_json(text, path)
        # Single precision: left to itself it takes bfloat16 where the processor has it
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        self._run = openvino.Core().compile_model(model, "CPU", options)
        self._names = [output.any_name for output in model.outputs]
        self.runtime = f"OpenVINO {openvino.__version__.split('-')[0]}"

    def __call__(self, pixels: Pixels) -> Outputs:
        results = self._run(pixels)
        return {name: results[place].copy() for place, name in enumerate(self._names)}


class _TorchScript(ExportedFile):
    def __init__(self, path: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        extras = {KEY: ""}
        try:
            self._run = torch.jit.load(path, map_location="cpu", _extra_files=extras)
        except RuntimeError as error:
            raise _unreadable(path, "TorchScript", error) from error
        self.info = FileInfo.from_json(extras[KEY], path)
        names = ["boxes", "scores", "labels"]
        self._names = names if self.info.masks == "none" else [*names, "masks"]
        self.runtime = f"TorchScript {torch.__version__}"

    @torch.inference_mode()
    def __call__(self, pixels: Pixels) -> Outputs:
        results = self._run(torch.from_numpy(np.ascontiguousarray(pixels)))
        return {name: value.numpy() for name, value in zip(self._names, results)}


_RUNTIMES = {"onnx": _OnnxRuntime, "openvino": _OpenVino, "torchscript": _TorchScript}


def load_exported(
    path: str | os.PathLike[str], threads: int | None = None, runtime: str | None = None
) -> ExportedFile:
    """Load a file that ``centernet2 export`` wrote.

    Args:
        path: of the file; its ending tells the format.
        threads: CPU threads; default: as many as PyTorch takes.
        runtime: "openvino" runs an ONNX file by OpenVINO; default: the format's own.

    Raises:
        UserError: there is no such file, it is broken, or a package is missing.
    """
    file = Path(path)
    kind = format_of(file)
    if kind is None:
        known = ", ".join(SUFFIXES.values())
        raise UserError(f"{file} is no exported model: those end in {known}")
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    return _RUNTIMES[runtime or kind](file, threads or torch.get_num_threads())


def _unreadable(path: Path, reader: str, error: Exception) -> UserError:
    return UserError(f"{path}: {reader} cannot read it: {str(error).strip().splitlines()[0]}")
