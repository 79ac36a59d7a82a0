"""Two trainings never share a folder; what a killed one held is free at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from centernet2.engine import Trainer, evaluate_checkpoint, launch, setup
from centernet2.engine.run_lock import claim_folder, release_folder
from centernet2.errors import UserError

# ---------------------------------------------------------------- scenarios, run in children


def train(output: str) -> int:
    import faults
    import tiny_train

    options = ("SOLVER.MAX_ITER", 2, "DATASETS.TEST", ("tiny",))
    return int(faults.train(tiny_train.arguments(Path(output), *options)))


def evaluate(output: str) -> int:
    import tiny_train

    weights = ("MODEL.WEIGHTS", Path(output, "model_final.pth"))
    options = ("DATASETS.TEST", ("tiny",), *weights)
    args = tiny_train.arguments(Path(output), *options, flags=("--eval-only",))
    return launch(lambda parsed: evaluate_checkpoint(setup(parsed)), args)


def claim_and_be_killed(folder: str) -> int:
    claim_folder(folder)
    if os.fork() == 0:  # as loading processes do, it outlives the run
        time.sleep(20)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def train_and_stay(output: str) -> int:
    import tiny_train

    Trainer(setup(tiny_train.arguments(Path(output), "SOLVER.MAX_ITER", 1))).train()
    return claim_in_a_fork(output)


def claim_in_a_fork(output: str) -> int:
    child = os.fork()
    if child == 0:
        claim_folder(output)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def claim(output: str) -> int:
    Path(output, ".running").write_bytes(b"\xff\xfe" * 1000)
    with pytest.raises(UserError, match="is in use"):
        claim_folder(output)
    return 0


# ------------------------------------------------------------------------------------- tests


def contents(folder: Path) -> dict[Path, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".running")
    return {path: path.read_bytes() for path in files}


def test_a_second_run_in_a_folder_is_refused_and_writes_nothing(
    tmp_path: Path, in_child: Callable[..., Any]
) -> None:
    output = tmp_path / "out"
    assert in_child(train, output=output).code == 0
    before = contents(output)
    claim_folder(str(output))
    claim_folder(str(tmp_path / "x" / ".." / "out"))  # twice in one process is once
    try:
        ended = in_child(train, output=output)
        assert ended.code == 2, ended.text
        assert f"error: OUTPUT_DIR {output} is in use: process {os.getpid()} on " in ended.text
        assert "Name another folder with OUTPUT_DIR, or end that run first." in ended.text
        assert contents(output) == before
        # An evaluation of what is saved so far is no second run
        ended = in_child(evaluate, output=output)
        assert ended.code == 0, ended.text
    finally:
        release_folder(str(output))
    assert in_child(train, output=output).code == 0


def test_a_killed_run_leaves_its_folder_free_though_its_children_live(
    tmp_path: Path, in_child: Callable[..., Any]
) -> None:
    assert in_child(claim_and_be_killed, folder=tmp_path).code == -signal.SIGKILL
    claim_folder(str(tmp_path))
    release_folder(str(tmp_path))


def test_a_trainer_frees_the_folder_when_it_is_done(
    tmp_path: Path, in_child: Callable[..., Any]
) -> None:
    ended = in_child(train_and_stay, output=tmp_path)
    assert ended.code == 0, ended.text


def test_a_file_system_without_locks_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    claim_folder(str(tmp_path))
    assert "cannot be locked (No locks available)" in caplog.text


def test_what_the_other_run_wrote_cannot_break_the_message(
    tmp_path: Path, in_child: Callable[..., Any]
) -> None:
    claim_folder(str(tmp_path))
    try:
        ended = in_child(claim, output=tmp_path)
        assert ended.code == 0, ended.text
    finally:
        release_folder(str(tmp_path))
