"""Runs scenarios in which something breaks, each in a clean fork: ``python faults.py``.

A process that has trained cannot fork one that trains. This one only imports, and forks a child
for each line of its input, ``[FILE, FUNCTION, OUTPUT, ARGUMENTS]`` as JSON: the child's prints go
to OUTPUT; its exit code, negative for a signal, is printed.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tiny_train
import torch

from centernet2.engine import Trainer, launch, setup

NOT_POSSIBLE = 77  # the exit code where the system forbids what a scenario needs

LIBC = ctypes.CDLL(None, use_errno=True)
NEW_MOUNTS, NEW_USERS = 0x20000, 0x10000000
READ_ONLY = 1


def system_call(function: Any, *args: Any) -> None:
    """A function of the C library, or the end of the child where the system forbids it."""
    if function(*args) != 0:
        print(f"{function.__name__}: {os.strerror(ctypes.get_errno())}")
        os._exit(NOT_POSSIBLE)


def drop_rights() -> None:
    """Permissions of files hold for this child from here on, if root runs it too."""
    system_call(LIBC.unshare, NEW_USERS)


def mount_disk(folder: Path, size: str = "400k", flags: int = 0) -> None:
    """A small disk of this child's own in a folder, without the rights of root."""
    user, group = os.geteuid(), os.getegid()
    system_call(LIBC.unshare, NEW_USERS | NEW_MOUNTS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    target, options = os.fsencode(folder), f"size={size}".encode()
    system_call(LIBC.mount, b"none", target, b"tmpfs", flags, options)


def train(args: Any, trainer: type[Trainer] = Trainer, resume: bool = False) -> int:
    """What train_net.py does; returns its exit code."""

    def main(parsed: Any) -> None:
        built = trainer(setup(parsed))
        built.resume_or_load(resume=resume)
        built.train()

    return launch(main, args)


def train_script(data: str, output: str, options: Sequence[object], flags: Sequence[str]) -> int:
    """What ``python tiny_train.py DATA FLAGS OPTIONS`` does; returns its exit code."""
    args = tiny_train.arguments(Path(output), *options, flags=tuple(flags))
    args.tiny_folder = data
    return launch(tiny_train.main, args)


def run(file: str, function: str, output: str, arguments: dict[str, Any]) -> int:
    """Run a scenario in a fork; returns the fork's exit code."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            printed = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(printed, 1)
            os.dup2(printed, 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # what it starts needs a handle 0
            torch.set_num_threads(1)
            spec = importlib.util.spec_from_file_location("scenarios", file)
            module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
            spec.loader.exec_module(module)  # type: ignore[union-attr]
            scenario: Callable[..., int] = getattr(module, function)
            code = scenario(**arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def main(data: Path) -> None:
    tiny_train.register_data(data)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        answers.write(f"{run(*json.loads(line))}\n")
    os._exit(0)  # nothing is left to tidy up


if __name__ == "__main__":
    # Scenarios import this module by its name
    sys.modules["faults"] = sys.modules["__main__"]
    main(Path(sys.argv[1]))
