"""Choosing the evaluator of a data set."""

from __future__ import annotations

import os

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator

from centernet2.data.lvis_compat import repair_lvis
from centernet2.errors import UserError
from centernet2.evaluation.coco import CocoEvaluator, LvisEvaluator

__all__ = ["build_evaluator"]


def build_evaluator(
    cfg: CfgNode, dataset_name: str, output_dir: str | None = None
) -> DatasetEvaluator:
    """The evaluator that a data set's metadata asks for.

    Args:
        cfg: reads TEST.KEYPOINT_OKS_SIGMAS and OUTPUT_DIR.
        dataset_name: a registered data set whose ``evaluator_type`` is "coco" (also the default)
            or "lvis".
        output_dir: where predictions are written; default: ``OUTPUT_DIR/inference/<dataset>``.

    Raises:
        UserError: for another type of data set.
    """
    folder = output_dir or os.path.join(cfg.OUTPUT_DIR, "inference", dataset_name)
    kind = MetadataCatalog.get(dataset_name).get("evaluator_type", "coco")
    if kind == "coco":
        return CocoEvaluator(
            dataset_name, output_dir=folder, kpt_oks_sigmas=tuple(cfg.TEST.KEYPOINT_OKS_SIGMAS)
        )
    if kind == "lvis":
        repair_lvis()
        return LvisEvaluator(dataset_name, output_dir=folder)
    raise UserError(
        f"Data set '{dataset_name}' asks for the evaluator '{kind}'; this project evaluates "
        "'coco' and 'lvis'."
    )
