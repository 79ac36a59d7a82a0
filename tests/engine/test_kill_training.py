"""SIGKILL at any moment loses less than a checkpoint period, and changes no bit of the result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill_training.py")


@pytest.mark.slow
def test_a_run_that_is_killed_20_times_ends_as_one_that_is_not(tmp_path: Path) -> None:
    """In training, evaluation and the writing of checkpoints: see ``kill_training.py``."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), "20"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert sum(report["during"].values()) == 20
    assert (
        min(report["during"].get(doing, 0) for doing in ("training", "evaluating", "saving")) >= 2
    ), report["during"]
    killed, whole = report["killed"], report["whole"]
    assert killed["weights"] == whole["weights"]
    assert killed["losses"] == whole["losses"]
    assert whole["steps"] == 120
    assert 120 <= killed["steps"] < 120 + 20 * 4  # each kill costs less than a period and a step
