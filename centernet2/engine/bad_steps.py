"""Steps whose losses or gradients are not finite: the end of a run, or left out and counted."""

from __future__ import annotations

import logging
import re

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import nn

from centernet2.engine.diagnostics import (
    NonFiniteLossError,
    forward_report,
    nonfinite_report,
    nonfinite_weights,
    weights_report,
)
from centernet2.engine.train_step import MicroBatch, NonFiniteLoss

__all__ = ["BadSteps"]

# What models say of numbers that they cannot work with
_NOT_FINITE = re.compile(r"\bNaN\b|\bnan\b|\b[Ii]nf(inite)?\b|not finite")

logger = logging.getLogger(__name__)


class BadSteps:
    """Ends a run at a step that cannot be taken, or counts it while SOLVER.MAX_BAD_BATCHES allows.

    A step is never left out when the weights themselves are not finite: no later one would be
    better. All processes decide alike.

    Args:
        cfg: of the run.
        model: in training.
        optimizer: for the learning rate.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._cfg = cfg
        self._limit = cfg.SOLVER.MAX_BAD_BATCHES
        self._model = model
        self._optimizer = optimizer
        self.count = 0  # in this run and those that it resumes

    def take(self, iteration: int, failure: NonFiniteLoss) -> None:
        """Count a step that was not taken.

        Raises:
            NonFiniteLossError: if there are more than allowed, or the weights are not finite.
        """
        parts = comm.all_gather((failure.batches, nonfinite_weights(self._model)))
        batches = [batch for part, _ in parts for batch in part]
        weights = sorted({name for _, names in parts for name in names})
        lr = max(group["lr"] for group in self._optimizer.param_groups)
        message = nonfinite_report(self._cfg, iteration, lr, failure, batches, weights)
        self._leave_out(message, failure, may=not weights)

    def _leave_out(self, message: str, error: Exception, may: bool) -> None:
        if not may or 0 <= self._limit <= self.count:
            if self.count:
                message += f"\n{self._counted}"
            raise NonFiniteLossError(message) from error
        self.count += 1
        get_event_storage().put_scalar("bad_batches", self.count, smoothing_hint=False)
        logger.warning("%s\nThis step is left out. %s", message, self._counted)

    def explain(self, iteration: int, error: Exception, batches: list[MicroBatch]) -> bool:
        """Count a step whose forward pass failed because of numbers that are not finite.

        With several processes it ends the run: the others wait for what this one cannot compute.

        Args:
            batches: of the step in this process, the last of which failed.

        Returns:
            False if the error has another reason.

        Raises:
            NonFiniteLossError: see :meth:`take`.
        """
        weights = nonfinite_weights(self._model)
        if not batches or not (weights or batches[-1].not_finite or _NOT_FINITE.search(str(error))):
            return False
        message = forward_report(self._cfg, iteration, error, batches[-1], weights)
        self._leave_out(message, error, may=not weights and comm.get_world_size() == 1)
        return True

    def check_weights(self) -> None:
        """Look at the weights before they are saved, so that they replace no good checkpoint.

        Raises:
            NonFiniteLossError: if one is not finite.
        """
        weights = nonfinite_weights(self._model)
        if weights:
            raise NonFiniteLossError(
                f"{weights_report(weights)} They are not saved: the last checkpoint is from before."
            )

    def report(self) -> None:
        """Log at the end how many steps were left out."""
        if self.count:
            logger.warning("%s", self._counted)

    @property
    def _counted(self) -> str:
        allowed = "any number" if self._limit < 0 else self._limit
        return (
            f"Steps that were left out because of losses or gradients that are not finite: "
            f"{self.count}; SOLVER.MAX_BAD_BATCHES allows {allowed}."
        )
