"""Loading processes that die or cannot start: one sentence, and never in the midst of a step."""

from __future__ import annotations

import errno
import re
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from types import FrameType
from typing import Any, Callable, Union

from centernet2.errors import UserError

__all__ = ["LoadingProcessError", "deaths_told", "packed"]

_DIED = re.compile(r"DataLoader worker \(pid.*?\) (?P<how>is killed by signal: \w[\w ]*|exited)")
_NO_MEMORY = re.compile(r"Caught MemoryError|can't allocate memory|Cannot allocate memory")
_NO_SHARED_MEMORY = re.compile(r"Bus error|shared memory|</torch_")

_Handler = Union[Callable[[int, Union[FrameType, None]], Any], int, None]


class LoadingProcessError(UserError):
    """A process that loads images died, or none could be started."""

    exit_code = 6


def packed(batch: Any) -> bytes:
    """A batch as it travels to the process that trains, its tensors in the shared memory.

    As a loader's ``collate_fn`` it puts them there in the loading process's main thread. PyTorch
    does it in the queue's, which drops a batch that finds no room and lets training wait for ever.
    """
    return bytes(ForkingPickler.dumps(batch))


def deaths_told(
    loader: Iterable[Any], workers: int, unpack: Callable[[Any], Any] | None = None
) -> Iterator[Any]:
    """Iterate over a DataLoader, whose processes' death ends it with one sentence.

    PyTorch raises at whatever instruction the news finds this process, the writing of a checkpoint
    or half an optimizer step. Here the news waits until the next batch is asked for.

    Args:
        loader: PyTorch's.
        workers: its number of processes.
        unpack: what undoes the loader's ``collate_fn``, if :func:`packed` is that.

    Raises:
        LoadingProcessError: when the next batch is asked for.
    """
    if not workers:
        yield from loader
        return
    news = _News()
    with _told(workers):
        batches = iter(loader)
    news.hold_back()
    try:
        while True:
            with _told(workers), news.let_in():
                batch = next(batches, None)
                if unpack is not None and batch is not None:
                    batch = _unpacked(unpack, batch)
            if batch is None:
                return
            yield batch
    except LoadingProcessError:
        # Else PyTorch would tell it again, at whatever instruction, as the other processes end
        getattr(batches, "_shutdown_workers", lambda: None)()
        raise
    finally:
        news.close()


def _unpacked(unpack: Callable[[Any], Any], batch: Any) -> Any:
    try:
        return unpack(batch)
    except (EOFError, OSError) as error:  # the process that the tensors come from has died
        raise RuntimeError("DataLoader worker (pid unknown) exited") from error


class _News:
    """Holds back what PyTorch does when a child ends, except inside :meth:`let_in`."""

    def __init__(self) -> None:
        self._handler: _Handler = None
        self._waiting = False
        self._missed = False

    def hold_back(self) -> None:
        handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
        if not callable(handler):
            return
        try:
            signal.signal(signal.SIGCHLD, self._hear)
        except ValueError:  # not the main thread, where the news never comes
            return
        self._handler = handler

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        if self._waiting and callable(self._handler):
            self._handler(signum, frame)
        else:
            self._missed = True

    @contextmanager
    def let_in(self) -> Iterator[None]:
        self._waiting = True
        try:
            if self._missed and callable(self._handler):
                self._missed = False
                self._handler(signal.SIGCHLD, None)
            yield
        finally:
            self._waiting = False

    def close(self) -> None:
        if self._handler is not None and signal.getsignal(signal.SIGCHLD) == self._hear:
            signal.signal(signal.SIGCHLD, self._handler)


@contextmanager
def _told(workers: int) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, MemoryError) as error:
        text = str(error)
        died = _DIED.search(text)
        in_worker = died is not None or "in DataLoader worker process" in text
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC  # of its semaphores
        if full or _NO_SHARED_MEMORY.search(text):
            reason = "had no room in the shared memory (/dev/shm)"
            cure = "give it more (docker run --shm-size=8g), or turn down"
        elif died is not None:
            reason = died["how"].replace("is killed", "was killed").strip()
            cure = "most often that is for want of memory: turn down"
        elif in_worker and (isinstance(error, MemoryError) or _NO_MEMORY.search(text)):
            reason, cure = "ran out of memory", "turn down"
        elif isinstance(error, OSError) and not in_worker:
            reason, cure = f"cannot be started ({error.strerror or error})", "turn down"
        else:
            raise
        raise LoadingProcessError(
            f"A process that loads images {reason}; {cure} DATALOADER.NUM_WORKERS (now {workers}) "
            "and continue with --resume."
        ) from error
