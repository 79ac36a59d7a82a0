"""Whole processes: started, joined, signalled, and their exit codes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from centernet2.engine import TrainingInterrupted, launch, load_weights_file
from centernet2.engine.launch import _wait
from centernet2.errors import UserError

InChild = Callable[..., Any]

# ---------------------------------------------------------------- scenarios, run in children


def train(data: str, output: str, options: list[object], flags: list[str]) -> int:
    import faults

    signal.alarm(240)  # the default is to be killed: nothing here takes as long
    return faults.train_script(data, output, options, flags)


def train_and_be_stopped(data: str, output: str, options: list[object], flags: list[str]) -> int:
    """Gets SIGTERM once a few iterations are logged."""
    trained = os.getpid()
    if os.fork() == 0:
        signal.alarm(240)
        metrics = Path(output, "metrics.json")
        while not metrics.exists() or metrics.read_bytes().count(b"\n") <= 3:
            time.sleep(0.02)
        os.kill(trained, signal.SIGTERM)
        os._exit(0)
    return train(data, output, options, flags)


def train_as_torchrun_does(data: str, output: str) -> int:
    """Prints the exit codes of both processes."""
    os.environ.update(
        WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT="29641"
    )
    children = []
    for rank in "01":
        children.append(os.fork())
        if children[-1] == 0:
            os.environ.update(RANK=rank, LOCAL_RANK=rank)
            return train(data, output, [], [])
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print("ENDED", codes)
    return 0


# ------------------------------------------------------------------------------------- tests


def logged(output: Path, name: str = "total_loss") -> list[float]:
    lines = (output / "metrics.json").read_text().splitlines()
    return [row[name] for row in map(json.loads, lines) if name in row]


def saved_iteration(output: Path) -> int:
    name = (output / "last_checkpoint").read_text()
    return int(load_weights_file(output / name)["iteration"])


@pytest.fixture
def run(in_child: InChild, tiny_folder: Path) -> InChild:
    """Runs a scenario: how it ended and what it printed."""

    def call(
        output: Path, *options: object, flags: Sequence[str] = (), scenario: Any = train
    ) -> Any:
        return in_child(
            scenario, data=tiny_folder, output=output, options=options, flags=list(flags)
        )

    return call


@pytest.mark.slow
def test_two_processes_give_the_losses_and_weights_of_one(run: InChild, tmp_path: Path) -> None:
    options = ("SOLVER.ACCUMULATION_STEPS", 2, "SOLVER.IMS_PER_BATCH", 2)
    one = run(tmp_path / "one", *options)
    assert one.code == 0, one.text
    two = run(tmp_path / "two", *options, flags=["--num-cpu-procs", "2"])
    assert two.code == 0, two.text
    assert len(logged(tmp_path / "one")) == 8
    assert logged(tmp_path / "two") == pytest.approx(logged(tmp_path / "one"), rel=1e-4)
    first = load_weights_file(tmp_path / "one" / "model_final.pth")["model"]
    second = load_weights_file(tmp_path / "two" / "model_final.pth")["model"]
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_saves_and_resume_goes_on_exactly(
    run: InChild, tmp_path: Path, processes: int
) -> None:
    # With a loader process: it leaves signals to its parent, which must still end
    options = ("SOLVER.MAX_ITER", 2000, "SOLVER.CHECKPOINT_PERIOD", 0, "DATALOADER.NUM_WORKERS", 1)
    flags = ["--num-cpu-procs", str(processes)] if processes > 1 else []
    output = tmp_path / "stopped"
    stopped = run(output, *options, flags=flags, scenario=train_and_be_stopped)
    assert stopped.code == 128 + signal.SIGTERM, stopped.text
    assert "--resume" in stopped.text
    done = saved_iteration(output) + 1
    assert 3 < done < 2000
    if processes > 1:
        return  # which images each process gets after a resume: test_data_loader.py

    limit = ("SOLVER.TRAIN_ITER", done + 4)
    resumed = run(output, *options, *limit, flags=[*flags, "--resume"])
    assert resumed.code == 0, resumed.text
    whole = run(tmp_path / "whole", *options, *limit, flags=flags)
    assert whole.code == 0, whole.text
    first = load_weights_file(output / "model_final.pth")["model"]
    second = load_weights_file(tmp_path / "whole" / "model_final.pth")["model"]
    for name, value in second.items():
        assert torch.equal(first[name], value), name


@pytest.mark.slow
def test_nan_in_one_of_two_processes_ends_both_with_one_sentence(
    run: InChild, tmp_path: Path
) -> None:
    options = ("MODEL.META_ARCHITECTURE", "TinyBreakingDetector")
    failed = run(tmp_path / "out", *options, flags=["--num-cpu-procs", "2"])
    assert failed.code == 3, failed.text
    assert "loss_box = nan" in failed.text
    assert "003.png" in failed.text
    assert "Traceback" not in failed.text


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_others_with_a_sentence(
    run: InChild, tmp_path: Path
) -> None:
    options = ("MODEL.META_ARCHITECTURE", "TinyDyingDetector", "SOLVER.CHECKPOINT_PERIOD", 2)
    failed = run(tmp_path / "out", *options, flags=["--num-cpu-procs", "2"])
    assert failed.code == 128 + signal.SIGKILL, failed.text
    assert "error: process 1 of this run was ended by SIGKILL" in failed.text
    assert "error (process 0): another process of this run ended" in failed.text
    assert "Traceback" not in failed.text
    assert saved_iteration(tmp_path / "out") == 3


def test_processes_that_wait_for_one_that_failed_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[_wait.__module__], "_GRACE", 0.5)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=time.sleep, args=(600,)) for _ in range(2)]
    processes.insert(1, context.Process(target=os._exit, args=(3,)))
    for process in processes:
        process.start()
    assert _wait(processes) == 1
    assert [process.exitcode for process in processes] == [-9, 3, -9]


@pytest.mark.slow
def test_torchrun_variables_are_followed(
    in_child: InChild, tiny_folder: Path, tmp_path: Path
) -> None:
    ended = in_child(train_as_torchrun_does, data=tiny_folder, output=tmp_path / "out")
    assert "ENDED [0, 0]" in ended.text
    assert json.loads((tmp_path / "out" / "runs.json").read_text())[0]["processes"] == 2


def parsed(tiny: ModuleType, tmp_path: Path, *flags: str) -> Any:
    return tiny.arguments(tmp_path, flags=flags)


def test_exit_codes(tiny: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def mistaken(_: Any) -> None:
        raise UserError("the cure is this")

    def interrupted(_: Any) -> None:
        raise TrainingInterrupted("saved", signal.SIGTERM)

    args = parsed(tiny, tmp_path)
    assert launch(lambda _: None, args) == 0
    assert launch(mistaken, args) == 2
    assert capsys.readouterr().err == "error: the cure is this\n"
    assert launch(interrupted, args) == 143


def test_more_gpus_than_there_are_is_one_sentence(
    tiny: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch(lambda _: None, parsed(tiny, tmp_path, "--num-gpus", "4096")) == 2
    assert "--num-gpus 4096, but PyTorch finds" in capsys.readouterr().err


def test_several_machines_need_a_url_and_keep_the_given_one(
    tiny: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = ["--num-cpu-procs", "1", "--num-machines", "2"]
    assert launch(lambda _: None, parsed(tiny, tmp_path, *flags)) == 2
    assert "--dist-url tcp://ADDRESS:PORT" in capsys.readouterr().err

    urls = []

    def start(worker: Any, args: Any, **_: Any) -> Any:
        urls.append(args[3])
        raise UserError("no processes in this test")

    monkeypatch.setattr("torch.multiprocessing.start_processes", start)
    launch(lambda _: None, parsed(tiny, tmp_path, *flags, "--dist-url", "tcp://10.0.0.1:29500"))
    assert urls == ["tcp://10.0.0.1:29500"]
