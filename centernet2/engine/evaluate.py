"""Evaluation of a checkpoint, as ``train_net.py --eval-only`` does it."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from torch import nn

from centernet2.engine.atomic import atomic_write
from centernet2.engine.checkpoint import Checkpointer
from centernet2.engine.checks import check_test_sets
from centernet2.engine.precision import inference_dtype
from centernet2.engine.storage import writing_told
from centernet2.engine.trainer import Trainer
from centernet2.errors import UserError
from centernet2.evaluation.coco import CocoEvaluator, LvisEvaluator
from centernet2.evaluation.report import Draw, write_report
from centernet2.modeling.inference_form import to_inference_form

__all__ = ["evaluate_checkpoint"]

logger = logging.getLogger(__name__)

_RESULTS = {"coco": CocoEvaluator.RESULTS, "lvis": LvisEvaluator.RESULTS}


def evaluate_checkpoint(
    cfg: CfgNode,
    resume: bool = False,
    trainer: type[Trainer] = Trainer,
    *,
    config_file: str = "",
    draw: Draw | None = None,
    model: nn.Module | None = None,
) -> dict[str, Any]:
    """Evaluate a checkpoint on DATASETS.TEST and write OUTPUT_DIR's ``metrics_eval.json``.

    With TEST.REPORT each data set gets a report beside its results; where none can be made a
    warning says why, and the metrics stand.

    Args:
        cfg: MODEL.WEIGHTS names the checkpoint. One of a run with SOLVER.EMA.ENABLED holds the
            moving average as its weights.
        resume: take the last checkpoint of OUTPUT_DIR instead, if there is one.
        trainer: whose ``build_model`` and ``test`` are used.
        config_file: named in the reports.
        draw: draws the reports' best and worst images; None: they have none.
        model: evaluate this one as it is, which came from the file that MODEL.WEIGHTS names.

    Returns:
        See :meth:`Trainer.test`.

    Raises:
        UserError: if there are no weights or no data sets to evaluate.
    """
    if not cfg.DATASETS.TEST:
        raise UserError("DATASETS.TEST is empty: name the data sets to evaluate.")
    check_test_sets(cfg)
    weights = cfg.MODEL.WEIGHTS
    if model is None:
        model, weights = _load(cfg, resume, trainer)
    results = trainer.test(cfg, model)
    if comm.is_main_process():
        folder, again = cfg.OUTPUT_DIR, "give the command again"
        path = os.path.join(folder, "metrics_eval.json")
        with writing_told(folder, again), atomic_write(path, "w") as file:
            json.dump({"weights": weights, "results": results}, file, indent=2)
        if cfg.TEST.REPORT:
            about = {"config": config_file or "defaults", "weights": weights}
            for name in cfg.DATASETS.TEST:
                _report(name, Path(cfg.OUTPUT_DIR, "inference", name), about, draw)
    return results


def _load(cfg: CfgNode, resume: bool, trainer: type[Trainer]) -> tuple[nn.Module, str]:
    """The model that is evaluated, and the file of its weights."""
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
    to_inference_form(model, inference_dtype(cfg))
    return model, weights


def _report(name: str, folder: Path, about: dict[str, str], draw: Draw | None) -> None:
    metadata = MetadataCatalog.get(name)
    results = folder / _RESULTS.get(metadata.get("evaluator_type", "coco"), "")
    if not results.is_file():
        return
    root = metadata.get("image_root")
    try:
        write_report(
            results,
            Path(metadata.json_file),
            folder,
            about={"data set": name, **about},
            images=Path(root) if root else None,
            draw=draw,
        )
    except Exception as error:  # the metrics are on the disk: nothing here may end the run
        logger.warning("No report on %s: %s: %s", name, type(error).__name__, error)
    else:
        logger.info("Report: %s", folder / "report.html")
