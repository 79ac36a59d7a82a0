"""One pass of a model over one data set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from torch import nn

from centernet2.engine.diagnostics import OutOfMemoryError, is_out_of_memory
from centernet2.engine.signals import StopRequest

__all__ = ["test_on"]


def test_on(
    model: nn.Module,
    loader: Iterable[Any],
    evaluator: DatasetEvaluator,
    stop: StopRequest | None,
    too_much: str,
) -> dict[str, Any]:
    """Run a model over a loader and evaluate what it finds.

    Args:
        stop: ends the pass early when a signal has come.
        too_much: what to say when memory runs out.

    Returns:
        {task: {metric: value}} in the main process, {} in the others.

    Raises:
        OutOfMemoryError: with ``too_much``.
        TrainingInterrupted: see ``stop``.
    """
    guarded = loader if stop is None else stop.guard(loader)
    try:
        return inference_on_dataset(model, guarded, evaluator) or {}
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(too_much) from error
