"""Damaged and hostile files: none runs anything, hangs, or ends without one sentence.

They are read in a process of its own, whose memory is limited: see ``fuzz_files.py``.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz_files.py")


@pytest.mark.parametrize(
    ("first", "last"), [(0, 120), pytest.param(120, 2000, marks=pytest.mark.slow)]
)
def test_2000_mutated_checkpoints_proposals_and_configs(first: int, last: int) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(first), str(last)], capture_output=True, text=True
    )
    assert done.returncode == 0, f"died at or after seed {done.stderr[-2000:]}"
    report = json.loads(done.stdout)
    assert report["findings"] == {}
    counts = report["counts"]
    assert sum(counts.values()) == last - first
    # Most are refused, some are still whole: the mutations are neither too mild nor too rough
    refused = sum(number for outcome, number in counts.items() if outcome.endswith("refused"))
    assert 0.5 * (last - first) < refused < last - first


def test_what_runs_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that the files hold runs where Python's own unpickler reads it."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    fuzz_files = importlib.import_module("fuzz_files")
    program = (
        "import pickle, sys\n"
        "ran = []\n"
        f"sys.addaudithook(lambda e, _: ran.append(e) if e in {fuzz_files.FORBIDDEN} else None)\n"
        f"pickle.loads({fuzz_files.CALLS[0] + b'.'!r})\n"
        "print(ran)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert "os.system" in done.stdout
    assert (tmp_path / "pwned").exists()
