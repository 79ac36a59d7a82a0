from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from evaluate_results import main


def test_truth_against_itself_and_mistakes(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = shared_data / "bccd" / "val.json"
    found = [
        {k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for a in json.loads(truth.read_text())["annotations"]
    ]
    results = tmp_path / "results.json"
    results.write_text(json.dumps(found))
    arguments = [str(results), "--annotations", str(truth)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    ap = re.search(r"IoU=0.50:0.95 \| area=   all \| maxDets=100 \] = (\S+)", printed)
    assert ap is not None
    assert float(ap[1]) > 0.99

    results.write_text("[1")
    assert main(arguments) == 2
    assert "is not valid JSON" in capsys.readouterr().err
