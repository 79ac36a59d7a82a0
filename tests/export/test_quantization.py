from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from centernet2.errors import UserError
from centernet2.export.check import calibration_inputs, check_inputs, embedded_picture
from centernet2.export.file_info import describe_export
from centernet2.export.quantization import quantize
from centernet2.export.runtimes import load_exported
from centernet2.inference.predictor import Predictor


@pytest.mark.slow
def test_first_stage_is_in_integers_and_scores_stay_near(
    load: Callable[..., Predictor], export: Callable[..., Path], tmp_path: Path
) -> None:
    predictor = load("one stage")
    source = export(predictor, "onnx")
    whole = load_exported(source, threads=1)
    inputs = check_inputs([embedded_picture()], whole.info)
    number = quantize(source, inputs, whole.info, tmp_path / "int8.onnx")

    nodes = onnx.load(tmp_path / "int8.onnx").graph.node
    scaled = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    integer = [node.name for node in convolutions if set(node.input[:2]) <= scaled]
    assert len(integer) == number > 20
    outputs = [node.name for node in convolutions if "bbox_pred" in node.name]
    assert len(outputs) == 5
    assert not set(outputs) & set(integer)
    assert (tmp_path / "int8.onnx").stat().st_size < 0.5 * source.stat().st_size

    for runtime in (None, "openvino"):
        rounded = load_exported(tmp_path / "int8.onnx", threads=1, runtime=runtime)
        assert rounded.info == whole.info
        for pixels in inputs:
            # Boxes of random weights lie anywhere, but their scores must stay near
            difference = np.abs(rounded(pixels)["scores"] - whole(pixels)["scores"])
            assert 1e-6 < difference.max() < 0.1


def test_last_convolutions_of_points_stay_in_single_precision(
    load: Callable[..., Predictor], export: Callable[..., Path], tmp_path: Path
) -> None:
    source = export(load("points"), "onnx")
    info = load_exported(source, threads=1).info
    number = quantize(source, [embedded_picture()[:96, :128]], info, tmp_path / "int8.onnx")
    nodes = onnx.load(tmp_path / "int8.onnx").graph.node
    scaled = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    rest = [node.name for node in convolutions if not set(node.input[:2]) <= scaled]
    assert len(convolutions) - len(rest) == number > 10
    names = {"hm", "wh", "reg"}
    assert {name.split("/")[3].split(".")[0] for name in rest} == names and len(rest) == 3
    assert all(name.endswith(".1/Conv") for name in rest)


def test_calibration_images(load: Callable[..., Predictor], tmp_path: Path) -> None:
    predictor = load("one stage")
    fixed, free = (
        describe_export(predictor, (64, 96), False),
        describe_export(predictor, None, False),
    )
    with pytest.raises(UserError, match="no images"):
        calibration_inputs(tmp_path, free)
    for number in range(230):
        Image.fromarray(np.full((20, 30, 3), number, np.uint8)).save(tmp_path / f"{number:03}.png")
    images = calibration_inputs(tmp_path, fixed)
    assert 70 < len(images) <= 100
    assert {image.shape for image in images} == {(64, 96, 3)}
    assert images[-1][0, 0, 0] > 220  # not the first alone
    assert calibration_inputs(tmp_path, free)[0].shape == (149, 224, 3)
