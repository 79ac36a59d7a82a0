"""Loading processes that are killed or have no memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from centernet2.engine import Trainer, load_weights_file
from centernet2.engine.data_loader import TrainLoader
from centernet2.engine.loading_processes import LoadingProcessError, deaths_told
from centernet2.errors import UserError

# ---------------------------------------------------------------- scenarios, run in children


def kill_one(output: str) -> int:
    import faults
    import tiny_train

    class Killing(Trainer):
        def before_step(self) -> None:
            super().before_step()
            if self.iter == 5:
                os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    options = ("DATALOADER.NUM_WORKERS", 2, "SOLVER.CHECKPOINT_PERIOD", 0)
    args = tiny_train.arguments(Path(output), *options, "SOLVER.EMA.ENABLED", True)
    code = faults.train(args, Killing)
    saved = load_weights_file(Path(output, Path(output, "last_checkpoint").read_text()))
    print("SAVED", saved["iteration"] + 1)
    assert faults.train(args, resume=True) == 0
    whole = tiny_train.arguments(Path(output, "whole"), *options, "SOLVER.EMA.ENABLED", True)
    assert faults.train(whole) == 0
    first, second = (load_weights_file(Path(output, f, "model_final.pth")) for f in (".", "whole"))
    for part in ("model", "train_model"):
        for name, value in second[part].items():
            assert torch.equal(first[part][name], value), name
    return code


def leave_no_shared_memory(output: str, size: str) -> int:
    import faults
    import tiny_train

    faults.mount_disk(Path("/dev/shm"), size=size)
    signal.alarm(300)
    return int(faults.train(tiny_train.arguments(Path(output), "DATALOADER.NUM_WORKERS", 1)))


# ------------------------------------------------------------------------------------- tests


@pytest.mark.slow
def test_a_killed_loading_process_costs_nothing(
    tmp_path: Path, in_child: Callable[..., Any]
) -> None:
    ended = in_child(kill_one, output=tmp_path)
    assert ended.code == 6, ended.text
    done = int(ended.text.split("SAVED ")[1].split()[0])
    assert 5 <= done <= 9  # two batches a process may be loaded already
    assert "error: A process that loads images was killed by signal: Killed; most" in ended.text
    assert "DATALOADER.NUM_WORKERS (now 2) and continue with --resume." in ended.text
    assert "Traceback" not in ended.text


@pytest.mark.slow
@pytest.mark.parametrize("size", ["16k", "72k"])  # too little for locks; for images
def test_no_room_in_the_shared_memory_is_one_sentence(
    size: str, tmp_path: Path, in_child: Callable[..., Any]
) -> None:
    ended = in_child(leave_no_shared_memory, output=tmp_path, size=size)
    assert ended.code == 6, ended.text
    assert "had no room in the shared memory (/dev/shm); give it more" in ended.text


def test_a_death_is_told_when_the_next_batch_is_asked_for() -> None:
    before = set(multiprocessing.active_children())
    batches = deaths_told(DataLoader(list(range(10_000)), num_workers=2, batch_size=1), 2)
    next(batches)
    victim = (set(multiprocessing.active_children()) - before).pop()
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    os.waitid(os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet asked for
    time.sleep(0.1)  # PyTorch would raise here, in the midst of whatever is being done
    with pytest.raises(LoadingProcessError, match="was killed by signal: Killed"):
        next(batches)
    assert "_hear" not in repr(signal.getsignal(signal.SIGCHLD))


def test_other_errors_of_a_mapper_stay_what_they_are() -> None:
    def mistaken(_: Any) -> Any:
        raise TypeError("a mistake in the mapper")

    loader: Any = DataLoader([1, 2], num_workers=1, collate_fn=mistaken)
    with pytest.raises(TypeError, match="a mistake in the mapper"):
        list(deaths_told(loader, 1))
    assert list(deaths_told([3, 4], 0)) == [3, 4]


def test_memory_that_runs_out_in_a_loading_process_is_told() -> None:
    def greedy(_: Any) -> Any:
        return np.ones(1 << 55, np.uint8)

    loader: Any = DataLoader([1, 2], num_workers=1, collate_fn=greedy)
    with pytest.raises(LoadingProcessError, match="ran out of memory; turn down DATALOADER"):
        list(deaths_told(loader, 1))


def test_an_image_too_large_for_the_memory_is_skipped_and_named() -> None:
    def mapper(record: dict[str, Any]) -> Any:
        size = 1 << 55 if record["file_name"] == "large.png" else 4
        return {"image": torch.from_numpy(np.ones(size, np.uint8)), **record}

    records = [{"file_name": name, "width": 4, "height": 4} for name in ("large.png", "small.png")]
    for limit, ends in ((1, False), (0, True)):
        loader = TrainLoader(
            records, mapper, repeat_factors=torch.ones(2), batch_size=2, num_workers=1,
            max_broken=limit,
        )  # fmt: skip
        if ends:
            with pytest.raises(UserError, match=r"large.png cannot be used: MemoryError|Unable to"):
                next(iter(loader))
        else:
            assert [s["file_name"] for s in next(iter(loader))] == ["small.png"] * 2


def test_processes_that_cannot_be_started_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fail)
    loader = DataLoader([1, 2], num_workers=1)
    with pytest.raises(LoadingProcessError, match="cannot be started .Resource temporarily"):
        list(deaths_told(loader, 1))
