"""Steps timed in turns, so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision

__all__ = ["WARM_UP", "Step", "Times", "finish", "machine", "measure", "ratio", "summary"]

WARM_UP = 3

# Runs a round's work to its end, on whatever device
Step = Callable[[int], object]


@dataclass
class Times:
    """Seconds of each round of one step.

    Attributes:
        wall: by the clock on the wall.
        process: that this process computed, in all its threads together. Programs beside it disturb
            it less; it says nothing of a GPU.
    """

    wall: list[float] = field(default_factory=list)
    process: list[float] = field(default_factory=list)


def finish(device: str | torch.device) -> None:
    """Wait for what a device was given to do: a GPU computes after its calls have returned."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def measure(steps: dict[str, Step], repeat: int, warm_up: int = WARM_UP) -> dict[str, Times]:
    """Time each step in each round, after some rounds that do not count."""
    times = {name: Times() for name in steps}
    for i in range(warm_up + repeat):
        for name, step in steps.items():
            wall, process = time.perf_counter(), time.process_time()
            step(i)
            seconds = time.perf_counter() - wall, time.process_time() - process
            if i >= warm_up:
                times[name].wall.append(seconds[0])
                times[name].process.append(seconds[1])
    return times


def summary(seconds: list[float]) -> dict[str, Any]:
    """Median and quartiles."""
    quartiles = statistics.quantiles(seconds, n=4)[::2] if len(seconds) > 1 else 2 * seconds
    return {
        "median_s": statistics.median(seconds),
        "quartiles_s": quartiles,
        "rounds": len(seconds),
    }


def ratio(seconds: list[float], peer: list[float]) -> float:
    """Median of the rounds' ratios: a round's two times were taken next to each other."""
    return statistics.median(a / b for a, b in zip(seconds, peer))


def machine() -> dict[str, Any]:
    """Where it was measured, for the reader of the figures."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return {
        "processor": _processor(),
        "gpu": gpu,
        "threads": torch.get_num_threads(),
        "load": round(load, 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = info.read_text().splitlines() if info.is_file() else []
    found = [line.partition(":")[2].strip() for line in names if line.startswith("model name")]
    return found[0] if found else platform.processor()
