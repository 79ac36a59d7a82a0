from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_file_is_written_compared_and_described(run: Run, model: Path, tmp_path: Path) -> None:
    status, printed, _ = run(
        "export", model, "--format", "torchscript", "--json", "figures.json",
        "--opts", "INPUT.MIN_SIZE_TEST", "160", "INPUT.MAX_SIZE_TEST", "200",
    )  # fmt: skip
    assert status == 0
    assert (tmp_path / f"{model.name}.ts").is_file()
    assert "TorchScript" in printed
    assert "within 0.01" in printed
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["parity"]["within"] is True
    assert figures["parity"]["matched"] == figures["parity"]["expected"] > 0
    assert figures["bytes"] == (tmp_path / f"{model.name}.ts").stat().st_size


def test_differences_above_the_tolerance_end_with_1(run: Run, model: Path) -> None:
    status, printed, _ = run(
        "export", model, "--output", "out/a.onnx", "--tolerance", "0", "--size", "160", "190"
    )
    assert status == 1
    assert "NOT within 0" in printed
    assert Path("out/a.onnx").is_file()


def test_nothing_to_compare_ends_with_1(run: Run, model: Path) -> None:
    status, printed, _ = run(
        "export", model, "--output", "a.ts", "--score-thresh", "1", "--size", "160", "190"
    )
    assert status == 1
    assert "--image FILE" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "tflite"], "invalid choice: 'tflite'"),
        (["--size", "0", "640"], "0 is not 1 or more"),
        (["--size", "64", "64", "--dynamic"], "not allowed with"),
    ],
)
def test_wrong_options(
    run: Run, model: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run("export", model, *arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["MODEL", "--output", "a.onnx", "--format", "openvino"], "openvino ends in .xml"),
        (["MODEL", "--output", "a.pth"], "onnx ends in .onnx"),
        (["cats"], "there is no model 'cats'"),
        (["MODEL", "--weights", "none.pth"], "none.pth"),
        (["MODEL", "--image", "none.jpg"], "none.jpg"),
        (["MODEL", "--opts", "TEST.AUG.ENABLED", "True"], "TEST.AUG.ENABLED"),
    ],
)
def test_mistakes_are_one_sentence(run: Run, model: Path, arguments: list[str], said: str) -> None:
    status, _, told = run("export", *(model if word == "MODEL" else word for word in arguments))
    assert status == 2
    assert said in told
    assert told.startswith("error: ") and told.count("\n") == 1


@pytest.mark.parametrize(("kind", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_missing_package_is_named(
    run: Run, model: Path, kind: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    status, _, said = run("export", model, "--format", kind)
    assert status == 2
    assert f"needs the package {package}: pip install 'centernet2[export]'" in said
