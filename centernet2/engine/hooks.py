"""What happens between iterations: averaging, checkpoints, evaluation."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm

from centernet2.engine.atomic import atomic_write
from centernet2.engine.checkpoint import Checkpointer
from centernet2.engine.ema import ModelEma

__all__ = ["CheckpointHook", "EmaHook", "EvaluationHook", "best_metric"]

logger = logging.getLogger(__name__)


class EmaHook(HookBase):
    """Lets the moving average follow each optimizer step."""

    def __init__(self, ema: ModelEma) -> None:
        self._ema = ema

    def after_step(self) -> None:
        """Take in the new weights."""
        self._ema.update()


class CheckpointHook(HookBase):
    """Saves every ``period`` iterations, keeps the last ``keep`` of these, and saves the final one.

    Only files that this run wrote are ever removed.

    Args:
        checkpointer: does the writing.
        period: iterations between checkpoints; <= 0: only the final one.
        keep: periodic checkpoints kept; 0: all.
        final: name of the checkpoint after the last iteration.
        check: called before each save; what it raises keeps the former checkpoints as they are.
    """

    def __init__(
        self,
        checkpointer: Checkpointer,
        period: int,
        keep: int,
        final: str = "model_final",
        *,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._checkpointer = checkpointer
        self._period = period
        self._keep = keep
        self._final = final
        self._check = check
        self._written: list[str] = []

    def after_step(self) -> None:
        """Save if it is time to."""
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter:
            self._check()
            self._checkpointer.save(self._final, iteration=self.trainer.iter)
        elif self._period > 0 and done % self._period == 0:
            self.save_now()

    def save_now(self) -> str:
        """Save a checkpoint named after the iteration that just finished; returns its name."""
        self._check()
        name = f"model_{self.trainer.iter:07d}"
        if not self._written or self._written[-1] != name:
            self._written.append(name)
        # The list is part of what is saved, so that a resumed run goes on rotating.
        self._checkpointer.save(name, iteration=self.trainer.iter)
        if self._keep > 0:
            for old in self._written[: -self._keep]:
                self._remove(old)
            self._written = self._written[-self._keep :]
        return name

    def save_finished(self) -> None:
        """Save the state after the last iteration that was finished, in one that cannot begin."""
        if self.trainer.iter > self.trainer.start_iter:
            self.trainer.iter -= 1
            self.save_now()

    def _remove(self, name: str) -> None:
        if not self._checkpointer.save_to_disk:
            return
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(self._checkpointer.save_dir, f"{name}.pth"))

    def state_dict(self) -> dict[str, Any]:
        """Names of the checkpoints that rotation may remove."""
        return {"written": list(self._written)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on rotating the checkpoints of the run that is resumed."""
        self._written = list(state["written"])


class EvaluationHook(HookBase):
    """Evaluates every ``period`` iterations and after the last, and keeps the best weights.

    Args:
        evaluate: returns nested metrics, in the main process at least.
        period: iterations between evaluations; 0: only after the last one.
        checkpointer: writes ``model_best.pth``.
        metric: flattened name ("bbox/AP") whose highest value is the best.
    """

    def __init__(
        self,
        evaluate: Callable[[], Mapping[str, Any]],
        period: int,
        checkpointer: Checkpointer,
        metric: str,
    ) -> None:
        self._evaluate = evaluate
        self._period = period
        self._checkpointer = checkpointer
        self._metric = metric
        self._best = -math.inf

    def after_step(self) -> None:
        """Evaluate if it is time to."""
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter or (self._period > 0 and done % self._period == 0):
            self.evaluate_now()

    def evaluate_now(self) -> None:
        """Evaluate, log the metrics, and save the weights if they are the best so far."""
        results = flatten_results_dict(self._evaluate() or {})
        values = {name: float(value) for name, value in results.items()}
        self.trainer.storage.put_scalars(**values, smoothing_hint=False)
        if comm.is_main_process() and values:
            self._keep_best(values)
        # Evaluation takes different times in different processes.
        comm.synchronize()

    def _keep_best(self, values: Mapping[str, float]) -> None:
        value = values.get(self._metric)
        if value is None:
            logger.warning(
                "TEST.BEST_METRIC '%s' is not among the metrics (%s): no model_best.pth.",
                self._metric,
                ", ".join(sorted(values)[:12]),
            )
        elif value > self._best:
            self._best = value
            self._checkpointer.save_weights("model_best", iteration=self.trainer.iter)
            with atomic_write(self._record, "w") as file:
                json.dump(
                    {"iteration": self.trainer.iter, "metric": self._metric, "value": value}, file
                )
            logger.info("Best %s so far: %.2f", self._metric, value)

    @property
    def _record(self) -> str:
        return os.path.join(self._checkpointer.save_dir, "model_best.json")

    def state_dict(self) -> dict[str, Any]:
        """The best value so far."""
        return {"best": self._best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on comparing with the best of the run that is resumed."""
        self._best = state["best"]
        # A checkpoint precedes the evaluation of its iteration, so the record may know better.
        try:
            with open(self._record, encoding="utf-8") as file:
                record = json.load(file)
            if record["metric"] == self._metric:
                self._best = max(self._best, float(record["value"]))
        except (OSError, ValueError, TypeError, KeyError):
            return


def best_metric(cfg: CfgNode) -> str:
    """Name of the metric that tells the best weights: TEST.BEST_METRIC or the AP of its task."""
    if cfg.TEST.BEST_METRIC:
        return str(cfg.TEST.BEST_METRIC)
    metric = "segm/AP" if cfg.MODEL.MASK_ON else "bbox/AP"
    several = len(cfg.DATASETS.TEST) > 1
    return f"{cfg.DATASETS.TEST[0]}/{metric}" if several else metric
