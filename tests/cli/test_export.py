from __future__ import annotations

import json
import logging
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from centernet2.cli.main import full_parser
from centernet2.engine.defaults import build_cfg

REPO = Path(__file__).resolve().parents[2]
Run = Callable[..., tuple[int, str, str]]


def test_commands_of_the_page_can_be_parsed() -> None:
    parser = full_parser()
    lines = (REPO / "docs" / "EXPORT.md").read_text(encoding="utf-8").splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("centernet2 ")]
    assert {words[1] for words in commands} == {"export", "eval"}
    for words in commands:
        parser.parse_args(words[1:])


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


POINTS = """
MODEL:
  META_ARCHITECTURE: ObjectsAsPoints
  WEIGHTS: ""
  DEVICE: cpu
  BACKBONE: {NAME: build_hourglass_backbone}
  HOURGLASS: {DIMS: [8, 8, 12], BLOCKS: [1, 1, 2], STEM_CHANNELS: 4}
  POINTS: {NUM_CLASSES: 2, HEAD_CHANNELS: 8, ROUND_RESULTS: False, CLIP_BOXES: True}
INPUT: {MIN_SIZE_TEST: 96, MAX_SIZE_TEST: 140}
DATASETS: {TEST: []}
"""


def test_objects_as_points(run: Run, tmp_path: Path) -> None:
    Path("config.yaml").write_text(POINTS)
    torch.manual_seed(0)
    weights = build_model(build_cfg("config.yaml")).state_dict()
    for name, values in weights.items():
        if re.fullmatch(r"head\.wh\.\d\.1\.bias", name):
            values += 5  # cells: else boxes would have no area
        elif re.fullmatch(r"head\.hm\.\d\.1\.weight", name):
            values *= 10  # else cells are alike up to rounding
    torch.save({"model": weights}, "model_final.pth")
    status, printed, _ = run("export", tmp_path, "--output", "a.onnx", "--json", "a.json")
    assert status == 0, printed
    assert "outputs: boxes, scores, labels\n" in printed
    parity = json.loads(Path("a.json").read_text())["parity"]
    assert parity["within"] and parity["matched"] == parity["expected"] > 50

    status, _, said = run(
        "export", tmp_path, "--output", "b.onnx", "--opts", "MODEL.KEYPOINT_ON", "True",
        "DATASETS.TRAIN", "('keypoints_coco_2017_train',)",
    )  # fmt: skip
    assert status == 2
    assert said.startswith("error: MODEL.KEYPOINT_ON True cannot be exported")
    assert said.count("\n") == 1
    assert not Path("b.onnx").exists()


def test_latency_is_measured_beside_pytorch(run: Run, model: Path) -> None:
    status, printed, _ = run(
        "export", model, "--output", "a.ts", "--benchmark", "--repeat", "2", "--threads", "1",
        "--json", "a.json", "--opts", "INPUT.MIN_SIZE_TEST", "160",
    )  # fmt: skip
    assert status == 0
    assert "medians of 2 rounds in turns" in printed
    measured = json.loads(Path("a.json").read_text())["benchmark"]
    assert [name.split()[0] for name in measured["runtimes"]] == ["PyTorch", "TorchScript"]
    assert measured["machine"]["threads"] == 1
    assert measured["size"] == [92, 96]  # of 521 x 545, the longer side at most 96
    for row in measured["runtimes"].values():
        assert row["rounds"] == 2
        assert row["median_s"] > 0 and row["processor_median_s"] > 0


def test_exported_file_is_evaluated_like_its_model(
    run: Run, model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("fvcore", "detectron2", "centernet2"):  # the evaluation adds to these
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
    assert run("export", model, "--output", "a.ts")[0] == 0
    images = [{"id": n, "file_name": f"{n}.png", "height": 40, "width": 60} for n in range(3)]
    box = {"category_id": 1, "bbox": [5, 5, 30, 30], "area": 900, "iscrowd": 0}
    data = {
        "images": images,
        "annotations": [{"id": n + 1, "image_id": n, **box} for n in range(3)],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(data))
    found = []
    for number, name in enumerate((model, "a.ts")):
        output = tmp_path / f"out{number}"
        words = ["--val", tmp_path / "val.json", photos, "--output", output]
        options = ["DATALOADER.NUM_WORKERS", "0", "TEST.REPORT", "False"]
        assert run("eval", "--model", name, *words, *options)[0] == 0
        (results,) = output.rglob("coco_instances_results.json")
        found.append(json.loads(results.read_text()))
    expected, exported = found
    assert len(expected) == len(exported) > 0
    for one, other in zip(expected, exported):
        assert one["image_id"] == other["image_id"]
        assert one["category_id"] == other["category_id"]
        assert one["bbox"] == pytest.approx(other["bbox"], abs=0.01)
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)


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
        (["MODEL", "--int8"], "--calibration FOLDER"),
        (["MODEL", "--calibration", "photos"], "--int8"),
        (["MODEL", "--int8", "--calibration", "x", "--format", "torchscript"], "not torchscript"),
        (["MODEL", "--int8", "--calibration", "absent", "--size", "160", "160"], "absent"),
        (["MODEL", "--opts", "TEST.AUG.ENABLED", "True"], "TEST.AUG.ENABLED"),
        (["MODEL", "--opts", "TEST.PRECISION", "bfloat16"], "TEST.PRECISION bfloat16"),
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
