"""Passes of a model over data sets."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Protocol

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset, print_csv_format
from detectron2.utils import comm
from torch import nn

from centernet2.engine import test_time_augmentation as tta
from centernet2.engine.checks import check_num_classes
from centernet2.engine.diagnostics import (
    OutOfMemoryError,
    is_out_of_memory,
    out_of_memory_in_test,
)
from centernet2.engine.signals import StopRequest
from centernet2.engine.storage import writing_told

__all__ = ["Builders", "test_data_sets", "test_on"]

logger = logging.getLogger(__name__)


class Builders(Protocol):
    """What a trainer class builds for an evaluation."""

    def build_test_loader(self, cfg: CfgNode, dataset_name: str) -> Any:
        """The images of a data set."""

    def build_evaluator(self, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """What measures the detections on it."""


def test_data_sets(
    builders: Builders,
    cfg: CfgNode,
    model: nn.Module,
    evaluators: list[DatasetEvaluator] | None,
    stop: StopRequest | None,
) -> dict[str, Any]:
    """Evaluate a model on DATASETS.TEST; see :meth:`centernet2.engine.Trainer.test`.

    Args:
        builders: the trainer's class.

    Raises:
        StorageError: if the results cannot be written.
    """
    # In training it is the trainer that knows what the run goes on from
    again = "give the command again" if stop is None else ""
    with writing_told(cfg.OUTPUT_DIR, again):
        return _test(builders, cfg, model, evaluators, stop)


def _test(
    builders: Builders,
    cfg: CfgNode,
    model: nn.Module,
    evaluators: list[DatasetEvaluator] | None,
    stop: StopRequest | None,
) -> dict[str, Any]:
    augmented = None
    if evaluators is None:
        evaluators = [builders.build_evaluator(cfg, name) for name in cfg.DATASETS.TEST]
        augmented = tta.build_augmented(cfg, model) if cfg.TEST.AUG.ENABLED else None
    results = {}
    for name, evaluator in zip(cfg.DATASETS.TEST, evaluators):
        loader, too_much = builders.build_test_loader(cfg, name), out_of_memory_in_test(cfg)
        check_num_classes(cfg, name)
        results[name] = test_on(model, loader, evaluator, stop, too_much)
        if augmented is not None:
            own, too_much = tta.augmented_config(cfg), tta.augmented_out_of_memory(cfg)
            loader = builders.build_test_loader(own, name)
            evaluator = builders.build_evaluator(own, name)
            found = test_on(augmented, loader, evaluator, stop, too_much)
            results[name].update(tta.augmented_results(found))
        if comm.is_main_process():
            logger.info("Results on %s:", name)
            print_csv_format(results[name])
    return results[name] if len(results) == 1 else results


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
