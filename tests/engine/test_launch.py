"""Whole processes: started, joined, signalled, and their exit codes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from centernet2.engine import TrainingInterrupted, launch, load_weights_file
from centernet2.engine.launch import _wait
from centernet2.errors import UserError

SCRIPT = Path(__file__).with_name("tiny_train.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[2])}


def command(tiny: ModuleType, data: Path, output: Path, *overrides: Any, flags: Any = ()) -> Any:
    args = tiny.arguments(output, *overrides)
    return [sys.executable, str(SCRIPT), str(data), *flags, *args.opts]


def run(*args: Any, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args, **kwargs),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def logged(output: Path, name: str = "total_loss") -> list[float]:
    lines = (output / "metrics.json").read_text().splitlines()
    return [row[name] for row in map(json.loads, lines) if name in row]


def stop_after_some_iterations(process: subprocess.Popen[str], output: Path) -> str:
    """Send SIGTERM once a few iterations are logged; returns what the process printed."""
    while process.poll() is None:
        try:
            if len((output / "metrics.json").read_text().splitlines()) > 3:
                process.send_signal(signal.SIGTERM)
                break
        except FileNotFoundError:
            pass
        time.sleep(0.02)
    return process.communicate(timeout=120)[1]


def saved_iteration(output: Path) -> int:
    name = (output / "last_checkpoint").read_text()
    return int(load_weights_file(output / name)["iteration"])


@pytest.mark.slow
def test_two_processes_give_the_losses_and_weights_of_one(
    tiny: ModuleType, tiny_folder: Path, tmp_path: Path
) -> None:
    options = ("SOLVER.ACCUMULATION_STEPS", 2, "SOLVER.IMS_PER_BATCH", 2)
    one = run(tiny, tiny_folder, tmp_path / "one", *options)
    two = run(tiny, tiny_folder, tmp_path / "two", *options, flags=["--num-cpu-procs", "2"])
    assert one.returncode == 0, one.stderr
    assert two.returncode == 0, two.stderr
    assert len(logged(tmp_path / "one")) == 8
    assert logged(tmp_path / "two") == pytest.approx(logged(tmp_path / "one"), rel=1e-4)
    first = load_weights_file(tmp_path / "one" / "model_final.pth")["model"]
    second = load_weights_file(tmp_path / "two" / "model_final.pth")["model"]
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_saves_and_resume_goes_on_exactly(
    tiny: ModuleType, tiny_folder: Path, tmp_path: Path, processes: int
) -> None:
    # With a loader process: it leaves signals to its parent, which must still end
    options = ("SOLVER.MAX_ITER", 2000, "SOLVER.CHECKPOINT_PERIOD", 0, "DATALOADER.NUM_WORKERS", 1)
    flags = ["--num-cpu-procs", str(processes)] if processes > 1 else []
    output = tmp_path / "stopped"
    process = subprocess.Popen(
        command(tiny, tiny_folder, output, *options, flags=flags),
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    stderr = stop_after_some_iterations(process, output)
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert "--resume" in stderr
    done = saved_iteration(output) + 1
    assert 3 < done < 2000
    if processes > 1:
        return  # which images each process gets after a resume: test_data_loader.py

    limit = ("SOLVER.TRAIN_ITER", done + 4)
    resumed = run(tiny, tiny_folder, output, *options, *limit, flags=[*flags, "--resume"])
    whole = run(tiny, tiny_folder, tmp_path / "whole", *options, *limit, flags=flags)
    assert resumed.returncode == 0, resumed.stderr
    assert whole.returncode == 0, whole.stderr
    first = load_weights_file(output / "model_final.pth")["model"]
    second = load_weights_file(tmp_path / "whole" / "model_final.pth")["model"]
    for name, value in second.items():
        assert torch.equal(first[name], value), name


@pytest.mark.slow
def test_nan_in_one_of_two_processes_ends_both_with_one_sentence(
    tiny: ModuleType, tiny_folder: Path, tmp_path: Path
) -> None:
    failed = run(
        tiny,
        tiny_folder,
        tmp_path,
        "MODEL.META_ARCHITECTURE",
        "TinyBreakingDetector",
        flags=["--num-cpu-procs", "2"],
    )
    assert failed.returncode == 3, failed.stderr
    assert "loss_box = nan" in failed.stderr
    assert "003.png" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_others_with_a_sentence(
    tiny: ModuleType, tiny_folder: Path, tmp_path: Path
) -> None:
    options = ("MODEL.META_ARCHITECTURE", "TinyDyingDetector", "SOLVER.CHECKPOINT_PERIOD", 2)
    failed = run(tiny, tiny_folder, tmp_path, *options, flags=["--num-cpu-procs", "2"])
    assert failed.returncode == 128 + signal.SIGKILL, failed.stderr
    assert "error: process 1 of this run was ended by SIGKILL" in failed.stderr
    assert "error (process 0): another process of this run ended" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert saved_iteration(tmp_path) == 3


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
    tiny: ModuleType, tiny_folder: Path, tmp_path: Path
) -> None:
    variables = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                 "MASTER_PORT": "29641"}  # fmt: skip
    processes = [
        subprocess.Popen(
            command(tiny, tiny_folder, tmp_path),
            env={**ENVIRONMENT, **variables, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert json.loads((tmp_path / "runs.json").read_text())[0]["processes"] == 2


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
