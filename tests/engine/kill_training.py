"""Trains in a child that is killed again and again: ``python kill_training.py FOLDER KILLS``.

What each kill left is checked here. As JSON are printed how often it was killed during what, and
the hash of the last weights and of the losses of all iterations, repeated ones included, beside
those of a run that nothing disturbed.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import tiny_train
import torch

from centernet2.engine import Trainer, load_weights_file, setup
from centernet2.engine.train_step import StepResult

PERIOD = 3
# Seconds into each that a child is killed at the latest; the first is as often 0
LATEST = {"training": 0.02, "evaluating": 0.1, "saving": 0.002}
OPTIONS = ("SOLVER.MAX_ITER", 120, "SOLVER.CHECKPOINT_PERIOD", PERIOD, "SOLVER.CHECKPOINT_KEEP", 2,
           "SOLVER.STEPS", (75,), "DATASETS.TEST", ("tiny",), "TEST.EVAL_PERIOD", 4,
           "SOLVER.EMA.ENABLED", True)  # fmt: skip


class Progress:
    """Iterations done and what is being done, in memory that parent and child share."""

    DOING = ("training", "evaluating", "saving")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 16)

    def tell(self, iteration: int) -> None:
        self._memory[:8] = iteration.to_bytes(8, "little")

    def begin(self, what: str) -> None:
        self._memory[8] = self.DOING.index(what)

    @property
    def iterations(self) -> int:
        return int.from_bytes(self._memory[:8], "little")

    @property
    def doing(self) -> str:
        return self.DOING[self._memory[8]]


def train(output: Path, progress: Progress) -> None:
    trainer = Trainer(setup(tiny_train.arguments(output, *OPTIONS, flags=("--resume",))))
    losses = os.open(output / "losses.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def after_step(result: StepResult) -> None:
        values = " ".join(value.hex() for _, value in sorted(result.losses.items()))
        os.write(losses, f"{trainer.iter} {values}\n".encode())  # at once: no kill cuts a line
        progress.tell(trainer.iter + 1)

    watch(trainer._trainer, "run", progress, "training", after_step)
    watch(trainer.checkpointer, "_write", progress, "saving")
    watch(trainer, "_evaluate", progress, "evaluating")
    for hook in trainer._hooks:
        if hasattr(hook, "_evaluate"):
            hook._evaluate = trainer._evaluate
    trainer.resume_or_load(resume=True)
    trainer.train()


def watch(part: Any, name: str, progress: Progress, what: str, after: Any = None) -> None:
    original = getattr(part, name)

    def watched(*args: Any, **kwargs: Any) -> Any:
        progress.begin(what)
        result = original(*args, **kwargs)
        if after is not None:
            after(result)
        progress.begin("training")
        return result

    setattr(part, name, watched)


def in_child(output: Path, progress: Progress, kill: tuple[str, float] | None) -> bool:
    """Train in a child.

    Args:
        kill: what the child shall be doing, and for how many seconds, when it is killed.

    Returns:
        Whether it came to its end.
    """
    begun = progress.iterations
    child = os.fork()
    if child == 0:
        code = 1
        try:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            train(output, progress)
            code = 0
        finally:
            os._exit(code)
    if kill is not None:
        while progress.iterations == begun or progress.doing != kill[0]:
            if os.waitpid(child, os.WNOHANG) != (0, 0):
                return True
            time.sleep(0.0003)
        time.sleep(kill[1])
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0


def check(output: Path, progress: Progress) -> None:
    """What is on the disk can be gone on from, and lacks less than a period."""
    tag = output / "last_checkpoint"
    if not tag.exists():
        assert progress.iterations <= PERIOD + 1, progress.iterations
        return
    saved = load_weights_file(output / tag.read_text())
    # The step that was told last may have been the one whose checkpoint was being written
    assert saved["iteration"] + 1 >= progress.iterations - PERIOD, (saved["iteration"], progress)
    for file in output.glob("*.pth"):
        load_weights_file(file)  # older checkpoints and the best one are whole too
    for file in output.glob("*.json"):
        if file.name != "metrics.json":
            json.loads(file.read_text())


def digest(file: Path) -> str:
    loaded = load_weights_file(file)
    total = hashlib.sha256()
    for part in ("model", "train_model"):
        for name, value in sorted(loaded[part].items()):
            total.update(name.encode() + value.numpy().tobytes())
    return total.hexdigest()


def losses_of(output: Path) -> dict[str, Any]:
    """How many steps were taken, and a hash of their losses, of which repeated ones are equal."""
    lines = (output / "losses.txt").read_text().splitlines()
    by_iteration = dict(line.split(" ", 1) for line in lines)
    assert len(set(lines)) == len(by_iteration), "a repeated step has another loss"
    content = "".join(f"{i} {by_iteration[str(i)]}\n" for i in range(len(by_iteration)))
    return {"steps": len(lines), "losses": hashlib.sha256(content.encode()).hexdigest()}


def main(folder: Path, kills: int) -> None:
    torch.set_num_threads(1)
    tiny_train.write_data(folder / "data")
    tiny_train.register_data(folder / "data")
    draw = random.Random(0)
    progress, output = Progress(), folder / "killed"
    during: Counter[str] = Counter()
    for number in range(kills):
        doing = Progress.DOING[number % 3]
        moment = doing, draw.choice([0, LATEST[doing]]) * draw.random()
        ended = in_child(output, progress, moment)
        assert not ended, "it ended before it was killed"
        during[progress.doing] += 1
        check(output, progress)
        # What a resumed run begins with
        tag = output / "last_checkpoint"
        saved = load_weights_file(output / tag.read_text())["iteration"] + 1 if tag.exists() else 0
        progress.tell(saved)
    assert in_child(output, progress, None)
    assert in_child(folder / "whole", Progress(), None)
    report: dict[str, Any] = {"during": during}
    for name in ("killed", "whole"):
        weights = digest(folder / name / "model_final.pth")
        report[name] = {"weights": weights, **losses_of(folder / name)}
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
