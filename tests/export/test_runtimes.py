"""Files of every format: written, read back, run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from centernet2.errors import UserError
from centernet2.export.check import check_inputs, check_parity, embedded_picture
from centernet2.export.file_info import describe_export
from centernet2.export.runtimes import load_exported
from centernet2.inference.predictor import Predictor

Load = Callable[..., Predictor]
Export = Callable[..., Path]


@pytest.mark.parametrize("size", [None, (160, 224)])
@pytest.mark.parametrize("kind", ["torchscript", "onnx", "openvino"])
def test_file_finds_what_the_model_finds(
    load: Load, export: Export, kind: str, size: tuple[int, int] | None
) -> None:
    # Fixed sizes go with one stage and dynamic ones with two, which saves half of the time
    predictor = load("cascade" if size is None else "one stage")
    file = load_exported(export(predictor, kind, size), threads=1)
    assert file.info == describe_export(predictor, size, False)
    inputs = check_inputs([embedded_picture()], file.info)
    parity = check_parity(predictor, file, inputs)
    assert parity.expected >= 5
    assert parity.within(1e-2), parity


def test_pasted_masks_in_an_onnx_file(load: Load, export: Export) -> None:
    predictor = load("cascade")
    path = export(predictor, "onnx", (160, 224), paste_masks=True)
    for runtime in (None, "openvino"):
        file = load_exported(path, threads=1, runtime=runtime)
        inputs = check_inputs([embedded_picture()], file.info)
        assert file(inputs[0])["masks"].shape[1:] == (160, 224)
        assert check_parity(predictor, file, inputs).within(1e-2)


def test_deformable_convolutions_go_to_torchscript(load: Load, export: Export) -> None:
    predictor = load("one stage", changes={"MODEL.CENTERNET.USE_DEFORMABLE": True})
    with pytest.raises(UserError, match="deformable convolutions: take --format torchscript"):
        export(predictor, "onnx")
    file = load_exported(export(predictor, "torchscript"), threads=1)
    assert check_parity(predictor, file, check_inputs([embedded_picture()], file.info)).within(1e-2)


@pytest.mark.parametrize("name", ["a.onnx", "a.xml", "a.ts"])
def test_broken_and_missing_files_are_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"{name}: no such file"):
        load_exported(tmp_path / name)
    (tmp_path / name).write_bytes(b"no model at all")
    with pytest.raises(UserError, match=rf"{name}: \w.* cannot read it") as said:
        load_exported(tmp_path / name)
    assert "\n" not in str(said.value)


def test_files_of_others_are_told_apart(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Identity()), tmp_path / "a.ts")
    with pytest.raises(UserError, match="was not written by `centernet2 export`"):
        load_exported(tmp_path / "a.ts")
    with pytest.raises(UserError, match=r"a.pth is no exported model: those end in .onnx, .xml"):
        load_exported(tmp_path / "a.pth")
