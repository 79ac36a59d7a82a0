"""The tutorial's cells run from top to bottom, on little data and for some iterations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient and ipykernel")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel")
    pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel")
    for name, value in (("TUTORIAL", str(tmp_path)), ("ITERATIONS", "12"), ("IMAGES", "16")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    notebook = nbformat.read(REPO / "docs" / "tutorial.ipynb", as_version=4)
    nbformat.validate(notebook)
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": REPO / "docs"}},
    )
    client.execute()  # raises where a cell does
    assert (tmp_path / "run" / "model_final.pth").is_file()
    assert (tmp_path / "signs.onnx").is_file()
    (report,) = (tmp_path / "eval").glob("inference/*/report.json")
    assert json.loads(report.read_text())["images"] == 40


def test_tutorial_shows_its_results() -> None:
    notebook = json.loads((REPO / "docs" / "tutorial.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 8
    assert all(cell["outputs"] for cell in cells[1:] if "import" not in cell["source"][0])
    assert not any(out["output_type"] == "error" for cell in cells for out in cell["outputs"])
