"""Steps whose losses or gradients are not finite: the end of a run, or left out and counted."""

from __future__ import annotations

import logging

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn

from centernet2.engine.diagnostics import (
    NonFiniteLossError,
    forward_report,
    nonfinite_report,
    nonfinite_weights,
    weights_report,
)
from centernet2.engine.train_step import NonFiniteLoss

__all__ = ["BadSteps"]

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
        if weights or 0 <= self._limit <= self.count:
            if self.count:
                message += f"\n{self._counted}"
            raise NonFiniteLossError(message) from failure
        self.count += 1
        logger.warning("%s\nThis step is left out. %s", message, self._counted)

    def explain(self, iteration: int, error: Exception) -> None:
        """Tell of a forward pass that failed because of weights that are not finite.

        Raises:
            NonFiniteLossError: if that is so; otherwise the error has another reason.
        """
        weights = nonfinite_weights(self._model)
        if weights:
            raise NonFiniteLossError(
                forward_report(self._cfg, iteration, error, weights)
            ) from error

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
