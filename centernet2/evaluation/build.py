"""Choosing the evaluator of a data set."""

from __future__ import annotations

import os
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, LVISEvaluator

from centernet2.data.lvis_compat import repair_lvis
from centernet2.errors import UserError

__all__ = ["CocoEvaluator", "build_evaluator"]


class CocoEvaluator(COCOEvaluator):
    """Detectron2's COCO evaluator for annotation files as people write them.

    Files may lack "info", and masks are evaluated only if the annotations have some.
    """

    def __init__(self, dataset_name: str, **options: Any) -> None:
        # The compiled fast variant is absent from some builds; the official one is the reference.
        super().__init__(dataset_name, use_fast_impl=False, **options)
        self._coco_api.dataset.setdefault("info", {})

    def _tasks_from_predictions(self, predictions: list[dict[str, Any]]) -> list[str]:
        tasks: list[str] = super()._tasks_from_predictions(predictions)
        truth = self._coco_api.anns.values()
        if "segm" in tasks and not any("segmentation" in annotation for annotation in truth):
            tasks.remove("segm")
        return tasks


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
        return LVISEvaluator(dataset_name, output_dir=folder)
    raise UserError(
        f"Data set '{dataset_name}' asks for the evaluator '{kind}'; this project evaluates "
        "'coco' and 'lvis'."
    )
