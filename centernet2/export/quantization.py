"""ONNX files in 8-bit integers."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from centernet2.export.extras import extra
from centernet2.export.file_info import FileInfo
from centernet2.export.writers import save_onnx

__all__ = ["quantize"]

# The RoI heads stay as they are: they take little of the time, and coordinates need their digits
_PARTS = ("/backbone/", "/first/head/")
# Whose values are scores and distances; those of points are named by their place in a sequence,
# with hourglasses after the number of the stack
_OUTPUTS = re.compile(r"/(bbox_pred|agn_hm|cls_logits)|/(hm|wh|reg)\.(2|\d+\.1)/Conv$")


class _Reader:
    """Gives the images one by one, as ONNX Runtime's calibration asks for them."""

    def __init__(self, images: Iterable[npt.NDArray[np.uint8]]) -> None:
        self._images: Iterator[npt.NDArray[np.uint8]] = iter(images)

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        pixels = next(self._images, None)
        return None if pixels is None else {"image": np.ascontiguousarray(pixels)}


def quantize(
    source: Path, images: Sequence[npt.NDArray[np.uint8]], info: FileInfo, path: Path
) -> int:
    """Write an ONNX file whose convolutions compute with 8-bit integers.

    Weights get a scale for each output channel, activations one for each map, from the least and
    greatest values on the calibration images (static quantization in the QDQ form, which ONNX
    Runtime and OpenVINO read). What the first stage puts out and the RoI heads stay in single
    precision.

    Args:
        source: the file in single precision.
        images: ``(H, W, 3)`` RGB, like those that the model will be given, and in its size.
        info: put into the file.
        path: of the new file.

    Returns:
        Number of convolutions that were changed.
    """
    onnx, quantization = extra("onnx"), extra("onnxruntime.quantization")
    with tempfile.TemporaryDirectory() as folder:
        prepared, draft = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        extra("onnxruntime.quantization.shape_inference").quant_pre_process(
            str(source), str(prepared), skip_symbolic_shape=True
        )
        nodes = onnx.load(prepared).graph.node
        convolutions = [node for node in nodes if node.op_type == "Conv"]
        kept = [node.name for node in convolutions if not _is_chosen(node.name)]
        quantization.quantize_static(
            str(prepared),
            str(draft),
            _Reader(images),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=kept,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        model = onnx.load(draft)
    save_onnx(model, info, path)
    return len(convolutions) - len(kept)


def _is_chosen(node: str) -> bool:
    return node.startswith(_PARTS) and _OUTPUTS.search(node) is None
