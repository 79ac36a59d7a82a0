"""Evaluation of a checkpoint, as ``train_net.py --eval-only`` does it."""

from __future__ import annotations

import json
import os
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils import comm

from centernet2.engine.atomic import atomic_write
from centernet2.engine.checkpoint import Checkpointer
from centernet2.engine.checks import check_test_sets
from centernet2.engine.trainer import Trainer
from centernet2.errors import UserError

__all__ = ["evaluate_checkpoint"]


def evaluate_checkpoint(
    cfg: CfgNode, resume: bool = False, trainer: type[Trainer] = Trainer
) -> dict[str, Any]:
    """Evaluate a checkpoint on DATASETS.TEST and write OUTPUT_DIR's ``metrics_eval.json``.

    Args:
        cfg: MODEL.WEIGHTS names the checkpoint. One of a run with SOLVER.EMA.ENABLED holds the
            moving average as its weights.
        resume: take the last checkpoint of OUTPUT_DIR instead, if there is one.
        trainer: whose ``build_model`` and ``test`` are used.

    Returns:
        See :meth:`Trainer.test`.

    Raises:
        UserError: if there are no weights or no data sets to evaluate.
    """
    if not cfg.DATASETS.TEST:
        raise UserError("DATASETS.TEST is empty: name the data sets to evaluate.")
    check_test_sets(cfg)
    model = trainer.build_model(cfg)
    checkpointer = Checkpointer(model, cfg.OUTPUT_DIR)
    last = resume and checkpointer.has_checkpoint()
    weights = checkpointer.get_checkpoint_file() if last else cfg.MODEL.WEIGHTS
    if not weights:
        raise UserError(
            "Evaluation needs weights: set MODEL.WEIGHTS to a checkpoint, or add --resume to take "
            f"the last one of {cfg.OUTPUT_DIR}."
        )
    checkpointer.load(weights)
    results = trainer.test(cfg, model)
    if comm.is_main_process():
        with atomic_write(os.path.join(cfg.OUTPUT_DIR, "metrics_eval.json"), "w") as file:
            json.dump({"weights": weights, "results": results}, file, indent=2)
    return results
