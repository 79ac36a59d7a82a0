"""One compact line of progress, the writers of a run, and what they read.

A log that cannot be written, because the disk is full say, is no reason to end a run: it is told
once, and training goes on until a checkpoint cannot be written.
"""

from __future__ import annotations

import datetime
import importlib.util
import logging
import os
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import torch
from detectron2.utils.events import (
    EventStorage,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
)
from fvcore.common.history_buffer import HistoryBuffer

__all__ = ["ProgressPrinter", "RecentStorage", "SteadyWriter", "build_writers"]

logger = logging.getLogger(__name__)


class RecentStorage(EventStorage):
    """Detectron2's storage of metrics with the last 1,000 values of each.

    Writers look at 200 at most. Detectron2's own keeps a million, which a long run would fill: some
    two kilobytes an iteration.
    """

    def __init__(self, start_iter: int = 0) -> None:
        super().__init__(start_iter)
        self._history: defaultdict[str, HistoryBuffer] = defaultdict(
            partial(HistoryBuffer, max_length=1000)
        )


class ProgressPrinter(EventWriter):
    """Logs iteration, time left, rate, losses, learning rate and memory.

    Losses are medians of the last ``window`` iterations.

    Args:
        max_iter: iteration at which the run ends.
        window: iterations to smooth over.
    """

    def __init__(self, max_iter: int, window: int = 20) -> None:
        self._max_iter = max_iter
        self._window = window
        self._last_written = -1

    def write(self) -> None:
        """Log the line, once per iteration at most."""
        storage = get_event_storage()
        if storage.iter <= self._last_written or storage.iter >= self._max_iter:
            return
        self._last_written = storage.iter
        logger.info(self.line(storage))

    def line(self, storage: EventStorage) -> str:
        """The line for the storage's present iteration."""
        done = storage.iter + 1
        parts = [f"iter {done}/{self._max_iter}"]
        histories = storage.histories()
        if "time" in histories:
            seconds = histories["time"].median(200)
            left = datetime.timedelta(seconds=int(seconds * (self._max_iter - done)))
            rate = f"{1 / seconds:.1f} it/s" if seconds < 1 else f"{seconds:.2f} s/it"
            parts += [f"eta {left}", rate]
            storage.put_scalar("eta_seconds", left.total_seconds(), smoothing_hint=False)
        parts.append(self._losses(storage))
        if "data_time" in histories and "time" in histories:
            waiting = histories["data_time"].median(self._window)
            if waiting > 0.2 * histories["time"].median(self._window):
                parts.append(f"data {waiting:.2f} s")
        if "lr" in histories:
            parts.append(f"lr {histories['lr'].latest():.3g}")
        if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
            parts.append(f"mem {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
        return "  ".join(part for part in parts if part)

    def _losses(self, storage: EventStorage) -> str:
        medians = {
            name: history.median(self._window)
            for name, history in storage.histories().items()
            if "loss" in name
        }
        if not medians:
            return ""
        total = medians.pop("total_loss", sum(medians.values()))
        detail = " ".join(f"{k.replace('loss_', '')} {v:.3g}" for k, v in medians.items())
        return f"loss {total:.4g}" + (f" ({detail})" if len(medians) > 1 else "")


class SteadyWriter(EventWriter):
    """A writer whose failures to write are logged once, and end nothing.

    Args:
        writer: the one that writes.
        name: of the log, for the message.
    """

    def __init__(self, writer: EventWriter, name: str) -> None:
        self._writer = writer
        self._name = name
        self._told = False

    def write(self) -> None:
        """Write what is new."""
        self._try(self._writer.write)

    def close(self) -> None:
        """Close the log."""
        self._try(self._writer.close)

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            if not self._told:
                reason = error.strerror or error
                logger.warning("%s cannot be written: %s. Lines will lack.", self._name, reason)
            self._told = True


def build_writers(output_dir: str, max_iter: int) -> list[EventWriter]:
    """Progress on the terminal, ``metrics.json`` (a JSON object a line), TensorBoard events."""
    metrics = os.path.join(output_dir, "metrics.json")
    _end_last_line(metrics)
    writers: list[EventWriter] = [
        ProgressPrinter(max_iter),
        SteadyWriter(JSONWriter(metrics), metrics),
    ]
    if importlib.util.find_spec("tensorboard"):
        writers.append(SteadyWriter(TensorboardXWriter(output_dir), "TensorBoard's log"))
    else:
        logger.info("No TensorBoard log: the package tensorboard is not installed.")
    return writers


def _end_last_line(path: str) -> None:
    # A line that a kill cut short must not take the next one with it
    if not os.path.isfile(path) or not os.path.getsize(path):
        return
    with open(path, "rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
