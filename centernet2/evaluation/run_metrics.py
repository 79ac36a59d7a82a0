"""What training runs have logged: their ``metrics.json``, and names that tell them apart."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from centernet2.errors import UserError

__all__ = ["Metrics", "Series", "name_runs", "read_metrics"]

# Iterations, rising, and values
Series = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
Metrics = dict[str, Series]


def read_metrics(run: Path) -> Metrics:
    """Read a run's ``metrics.json``.

    A resumed run goes back some iterations: what had been logged from there on was never part of
    the model, and does not count. Lines that are cut off or no JSON objects are passed over.

    Args:
        run: the run's OUTPUT_DIR.

    Returns:
        For each metric its iterations, rising, and values, finite ones.

    Raises:
        UserError: if there is no such file, it cannot be read, or nothing is in it.
    """
    path = run / "metrics.json"
    if not path.is_file():
        raise UserError(f"{run} has no metrics.json: name the OUTPUT_DIR of a training run.")
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    values: dict[str, dict[int, float]] = {}
    last = -1
    for record in _records(lines):
        iteration = record["iteration"]
        if iteration < last:
            values = {
                name: {i: v for i, v in points.items() if i < iteration}
                for name, points in values.items()
            }
        last = iteration
        for name, value in record.items():
            if name == "iteration" or isinstance(value, bool):
                continue
            if isinstance(value, (int, float)) and math.isfinite(value):
                values.setdefault(name, {})[iteration] = float(value)
    metrics = {
        name: (np.array(list(points), dtype=float), np.array(list(points.values())))
        for name, points in values.items()
        if points
    }
    if not metrics:
        raise UserError(f"{path} holds no metrics yet.")
    return metrics


def _records(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue  # a killed run can leave its last line unfinished
        if isinstance(record, dict) and type(record.get("iteration")) is int:
            yield record


def name_runs(runs: Sequence[Path]) -> dict[str, Path]:
    """Names of runs: the last folder of each, with as many above it as make all names differ.

    A run that is named twice, by whatever path, counts once.
    """
    folders = list(dict.fromkeys(run.resolve() for run in runs))
    longest = max((len(folder.parts) for folder in folders), default=0)
    for depth in range(1, longest + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, folders)) if folders else {}
