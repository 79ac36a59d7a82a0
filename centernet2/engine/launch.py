"""Starting the processes of a run and turning their end into an exit code."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import multiprocessing
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import connection
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.utils import comm

from centernet2.engine.signals import TrainingInterrupted
from centernet2.errors import UserError

__all__ = ["LostProcessError", "launch"]

# Seconds that processes have to end, and to say why, when another has failed
_GRACE = 30.0
# What gloo, NCCL and PyTorch's store say when a process does not answer any more
_LOST = re.compile(
    r"Connection (closed|reset) by peer|Broken pipe|Socket (closed|Timeout)|gloo/transport"
    r"|NCCL|Timed out|failed to recv|should dump|Connection was likely closed"
)

# Waiting for others covers the main process's evaluation, which is long on large data sets.
_TIMEOUT = timedelta(hours=2)


class LostProcessError(UserError):
    """Another process of the run has ended, or the network between them has."""

    exit_code = 6


Main = Callable[[argparse.Namespace], Any]


def launch(main: Main, args: argparse.Namespace) -> int:
    """Run ``main(args)`` in as many processes as the command line asks for.

    Under torchrun (RANK and WORLD_SIZE are set) this process is one of them; otherwise they are
    started here.

    Args:
        main: an importable function.
        args: of :func:`centernet2.engine.argument_parser`.

    Returns:
        The exit code for the shell: 0, a UserError's own, or 128 + the signal that stopped it.
    """
    try:
        if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
            return _join_torchrun(main, args)
        on_cpu = args.num_cpu_procs > 0
        processes = args.num_cpu_procs if on_cpu else max(args.num_gpus, 1)
        if not on_cpu:
            _check_gpus(processes)
        if processes * args.num_machines == 1:
            return _guarded(main, args)
        return _start_processes(main, args, processes, on_cpu)
    except UserError as error:
        return _tell(error)


def _check_gpus(wanted: int) -> None:
    found = torch.cuda.device_count()
    if wanted > max(found, 1):
        raise UserError(
            f"--num-gpus {wanted}, but PyTorch finds {found} GPUs on this machine"
            + ("; for several processes on the CPU use --num-cpu-procs." if not found else ".")
        )


def _guarded(main: Main, args: argparse.Namespace) -> int:
    try:
        return _told(main, args)
    finally:
        # Loader processes leave signals to this one, so Python's own end would wait for them
        for child in multiprocessing.active_children():
            child.kill()


def _told(main: Main, args: argparse.Namespace) -> int:
    try:
        main(args)
    except UserError as error:
        return _tell(error)
    except RuntimeError as error:
        if comm.get_world_size() == 1 or not _LOST.search(str(error)):
            raise
        return _tell(LostProcessError(_lost(error)))
    except TrainingInterrupted as interrupted:
        if comm.is_main_process():
            print(interrupted, file=sys.stderr)
        return interrupted.exit_code
    return 0


def _lost(error: RuntimeError) -> str:
    reason = str(error).splitlines()[0][:200].rstrip(".")
    return (
        f"another process of this run ended or does not answer any more ({reason}); what it said "
        "itself tells why. The checkpoints are whole: continue with --resume."
    )


def _tell(error: UserError) -> int:
    prefix = "error" if comm.get_world_size() == 1 else f"error (process {comm.get_rank()})"
    print(f"{prefix}: {error}", file=sys.stderr, flush=True)
    return error.exit_code


def _join_torchrun(main: Main, args: argparse.Namespace) -> int:
    on_cpu = args.num_gpus == 0 or args.num_cpu_procs > 0 or not torch.cuda.is_available()
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    _join_group(
        "env://",
        int(os.environ["WORLD_SIZE"]),
        int(os.environ["RANK"]),
        int(os.environ.get("LOCAL_RANK", 0)),
        local_size,
        on_cpu,
    )
    return _run_in_group(main, args)


def _start_processes(main: Main, args: argparse.Namespace, processes: int, on_cpu: bool) -> int:
    url = _rendezvous(args)
    context = mp.start_processes(
        _worker,
        args=(main, args, processes, url, on_cpu),
        nprocs=processes,
        join=False,
        start_method="spawn",
    )

    def forward(signum: int, frame: FrameType | None) -> None:
        for process in context.processes:
            if process.is_alive():
                os.kill(process.pid, signal.SIGTERM)

    former = signal.signal(signal.SIGTERM, forward)
    # Ctrl-C reaches the processes from the terminal itself; this one waits for them to save.
    former_interrupt = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        failed = _wait(context.processes)
        if failed is not None:
            # Whose traceback is shown: the others failed because this one did
            context.sentinels = {context.processes[failed].sentinel: failed}
        while not context.join():
            pass
    except mp.ProcessExitedException as ended:
        if ended.exit_code >= 0:
            return ended.exit_code
        print(
            f"error: process {ended.error_index} of this run was ended by {ended.signal_name}, "
            "most often for want of memory or by a scheduler. The checkpoints are whole: continue "
            "with --resume.",
            file=sys.stderr,
        )
        return 128 - ended.exit_code
    finally:
        signal.signal(signal.SIGTERM, former)
        signal.signal(signal.SIGINT, former_interrupt)
    return 0


def _wait(processes: list[Any]) -> int | None:
    """Wait until all processes have ended; returns the number of the first that failed.

    Those that wait for one that failed, for hours if need be, are killed after a while.
    """
    running = {process.sentinel: number for number, process in enumerate(processes)}
    failed: int | None = None
    end: float | None = None
    while running:
        left = None if end is None else max(0.0, end - time.monotonic())
        ready = connection.wait(list(running), left)
        if not ready:
            for number in running.values():
                processes[number].kill()
            end = None
        for sentinel in ready:
            number = running.pop(sentinel)
            processes[number].join()
            if processes[number].exitcode != 0 and failed is None:
                failed, end = number, time.monotonic() + _GRACE
    return failed


def _rendezvous(args: argparse.Namespace) -> str:
    if args.dist_url != "auto":
        return str(args.dist_url)
    if args.num_machines > 1:
        raise UserError(
            "Several machines need --dist-url tcp://ADDRESS:PORT, with the address of machine 0 "
            "and a free port, the same on all machines."
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def _worker(
    local_rank: int,
    main: Main,
    args: argparse.Namespace,
    processes: int,
    url: str,
    on_cpu: bool,
) -> None:
    if on_cpu and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    rank = args.machine_rank * processes + local_rank
    _join_group(url, processes * args.num_machines, rank, local_rank, processes, on_cpu)
    code = _run_in_group(main, args)
    # The run is over: what threads of libraries do while Python takes itself down must not turn
    # it into a failure
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _join_group(
    url: str, world_size: int, rank: int, local_rank: int, local_size: int, on_cpu: bool
) -> None:
    if not on_cpu and torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
    dist.init_process_group(
        "gloo" if on_cpu else "nccl",
        init_method=url,
        world_size=world_size,
        rank=rank,
        timeout=_TIMEOUT,
    )
    _create_local_group(local_size)
    comm.synchronize()


def _create_local_group(local_size: int) -> None:
    if hasattr(comm, "create_local_process_group"):
        comm.create_local_process_group(local_size)
        return
    # Detectron2 0.6 has only the variable that its own launcher fills.
    for first in range(0, comm.get_world_size(), local_size):
        ranks = list(range(first, first + local_size))
        group = dist.new_group(ranks)
        if comm.get_rank() in ranks:
            comm._LOCAL_PROCESS_GROUP = group


def _run_in_group(main: Main, args: argparse.Namespace) -> int:
    code = _guarded(main, args)
    if code == 0:
        _leave_group()
    return code


def _leave_group() -> None:
    """Close the connections once no process needs them any more.

    The first to end would else cut off others that are still reading what it sent last.
    """
    store = dist.distributed_c10d._get_default_store()
    with contextlib.suppress(RuntimeError):  # process 0, which serves the store, has failed
        store.add("centernet2/done", 1)
        _wait_for_all(store, "centernet2/done")
        store.add("centernet2/leaving", 1)
        if comm.get_rank() == 0:
            _wait_for_all(store, "centernet2/leaving")
    dist.destroy_process_group()


def _wait_for_all(store: dist.Store, counter: str) -> None:
    end = time.monotonic() + _TIMEOUT.total_seconds()
    while store.add(counter, 0) < comm.get_world_size() and time.monotonic() < end:
        time.sleep(0.02)
