from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "evaluate_results.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=TOOL.parent.parent)


@pytest.mark.slow
def test_truth_against_itself_and_mistakes(shared_data: Path, tmp_path: Path) -> None:
    truth = shared_data / "bccd" / "val.json"
    found = [
        {k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for a in json.loads(truth.read_text())["annotations"]
    ]
    results = tmp_path / "results.json"
    results.write_text(json.dumps(found))
    finished = run(results, "--annotations", truth)
    assert finished.returncode == 0, finished.stderr
    ap = re.search(r"IoU=0.50:0.95 \| area=   all \| maxDets=100 \] = (\S+)", finished.stdout)
    assert ap is not None
    assert float(ap[1]) > 0.99

    results.write_text("[1")
    broken = run(results, "--annotations", truth)
    assert broken.returncode != 0
    assert "is not valid JSON" in broken.stderr
    assert "Traceback" not in broken.stderr
