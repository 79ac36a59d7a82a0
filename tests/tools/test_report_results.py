from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "report_results.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("report_results", TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def results_of(truth: Path, output: Path) -> Path:
    chance = np.random.default_rng(0)
    found = [
        {
            "image_id": a["image_id"],
            "category_id": a["category_id"],
            "bbox": [v + float(chance.uniform(-9, 9)) for v in a["bbox"][:2]] + a["bbox"][2:],
            "score": float(chance.random()),
        }
        for a in json.loads(truth.read_text())["annotations"]
    ]
    output.write_text(json.dumps(found))
    return output


def test_a_report_on_real_data(
    tool: ModuleType, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bccd = shared_data / "bccd"
    results, output = results_of(bccd / "val.json", tmp_path / "dt.json"), tmp_path / "out"
    options = ["--annotations", bccd / "val.json", "--images", bccd / "images", "--output", output]
    assert tool.main([str(o) for o in (results, *options)]) == 0
    printed = capsys.readouterr().out
    report = json.loads((output / "report.json").read_text())
    assert f"{report['metrics']['box']['AP']:.1f}" in printed
    assert str(output / "report.html") in printed
    html = (output / "report.html").read_text(encoding="utf-8")
    assert html.count("data:image/jpeg") == 12
    assert len(html) < 6_000_000
    assert "could not be drawn" not in html
    with open(output / "metrics.csv", newline="") as file:
        rows = {(r["task"], r["group"], r["metric"]): r["value"] for r in csv.DictReader(file)}
    assert float(rows["box", "average precision", "AP"]) == report["metrics"]["box"]["AP"]
    assert rows["box", "false discovery", "FD"] == str(report["false_discovery"]["box"]["FD"])
    assert rows["box", "errors: missed", "all"] == str(report["errors"]["box"]["missed"]["all"])
    with open(output / "per_class.csv", newline="") as file:
        classes = list(csv.DictReader(file))
    assert [c["name"] for c in classes] == [c["name"] for c in report["per_class"]]
    assert float(classes[0]["AP"]) == report["per_class"][0]["AP"]

    assert tool.main([str(o) for o in (results, *options[:3], tmp_path, *options[4:])]) == 0
    html = (output / "report.html").read_text(encoding="utf-8")
    assert html.count("data:image/jpeg") == 0
    assert html.count("No such file") == 5 and "Is this the folder" in html


def test_mistakes_are_one_sentence(
    tool: ModuleType, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = shared_data / "bccd" / "val.json"
    results = tmp_path / "dt.json"
    options = ["--annotations", str(truth), "--output", str(tmp_path / "out")]
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3], "score": 1}
    for content, problem in (
        ("{", "dt.json, line 1, is not valid JSON"),
        ("7", "dt.json is no COCO results file"),
        (json.dumps([{**box, "image_id": -5}]), "entry 1 has the image_id -5"),
    ):
        results.write_text(content)
        assert tool.main([str(results), *options]) == 2
        error = capsys.readouterr().err
        assert problem in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    results.write_text("[]")
    (tmp_path / "out").touch()
    assert tool.main([str(results), *options]) == 2
    assert "out: cannot be written (File exists)" in capsys.readouterr().err
