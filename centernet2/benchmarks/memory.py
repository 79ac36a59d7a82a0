"""Peak memory of a step, measured in a fresh process that does nothing else."""

from __future__ import annotations

import multiprocessing
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from centernet2.engine.environment import environment_set

from .timing import Step

__all__ = ["peak_bytes"]

# glibc keeps what was freed in pieces of up to 32 MB, which hides what tensors take; pieces beyond
# a fixed size go back at once. Other systems do not look at it.
_GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_TRIM_THRESHOLD_": "1000000"}


def peak_bytes(build: Callable[..., Any], arguments: tuple[Any, ...], steps: int = 2) -> int:
    """The most memory that steps ever held, over what the process had after its imports.

    Weights, gradients and the optimizer's state count; so do the buffers of libraries that stay
    once used. Freed memory that C's allocator would keep does not: the process is told to give
    large pieces back. On a GPU it is what its allocator ever handed out.

    Args:
        build: a function of a module, of the arguments; returns a step, or a tuple that starts
            with one.
        arguments: picklable.
        steps: how many are run.

    Returns:
        Bytes.

    Raises:
        RuntimeError: if the process ends without an answer (it was killed, for instance).
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_measure, args=(sender, build, arguments, steps, torch.get_num_threads())
    )
    with environment_set(_GIVE_BACK):
        process.start()
    sender.close()
    try:
        return int(receiver.recv())
    except EOFError:
        raise RuntimeError("The process whose memory was to be measured has died.") from None
    finally:
        process.join()


def _measure(
    sender: Any, build: Callable[..., Any], arguments: tuple[Any, ...], steps: int, threads: int
) -> None:
    torch.set_num_threads(threads)
    before = _highest()
    built = build(*arguments)
    step: Step = built[0] if isinstance(built, tuple) else built
    for i in range(steps):
        step(i)
    used = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else _highest() - before
    sender.send(used)


def _highest() -> int:
    """Most resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # rusage would count what the parent held when it started this one
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)
        if found:
            return 1024 * int(found[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
