"""Detectron2's COCO and LVIS evaluators on the fast engine, with results kept on the disk."""

from __future__ import annotations

import copy
import json
import logging
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import detectron2.utils.comm as comm
import torch
from detectron2.evaluation import COCOEvaluator, LVISEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.utils.logger import create_small_table

from centernet2.errors import UserError
from centernet2.evaluation.engine import evaluate_coco, evaluate_lvis
from centernet2.evaluation.results_file import ResultsWriter
from centernet2.evaluation.truth_checks import check_truth

__all__ = ["CocoEvaluator", "LvisEvaluator"]

Records = list[dict[str, Any]]

_COCO_KEYPOINTS = 17

logger = logging.getLogger(__name__)

LVIS_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf")


class _OnDisk:
    """What both evaluators share: detections go to a file, image by image, not to memory.

    Region proposals (``"proposals"``) are held in memory, as in Detectron2.
    """

    RESULTS: str
    _coco_ids: dict[int, int]
    _metadata: Any
    _distributed: bool
    _output_dir: str | None
    _do_evaluation: bool
    _tasks: Any
    _results: OrderedDict[str, Any]
    _eval_box_proposals: Callable[[Records], None]

    def _open(self) -> None:
        self._temporary = None if self._output_dir else TemporaryDirectory()
        folder = self._output_dir or self._temporary.name  # type: ignore[union-attr]
        self._writer = ResultsWriter(Path(folder, self.RESULTS), self._distributed)

    def reset(self) -> None:
        """Begin an evaluation."""
        self._proposals: Records = []
        self._instances_seen = False
        # Not before: Detectron2 tells them when the data set is loaded, which may be after __init__
        classes = self._metadata.get("thing_dataset_id_to_contiguous_id") or self._own_classes()
        self._coco_ids = {index: coco_id for coco_id, index in classes.items()}
        self._writer.reset()

    def process(self, inputs: Records, outputs: Records) -> None:
        """Write the detections of some images.

        Args:
            inputs: the model's, with "image_id".
            outputs: the model's, with "instances" (boxes in pixels of the original image; masks
                become run lengths here) or "proposals".
        """
        for record, output in zip(inputs, outputs):
            image_id = record["image_id"]
            if "instances" in output:
                self._instances_seen = True
                instances = output["instances"].to(torch.device("cpu"))
                detections = instances_to_coco_json(instances, image_id)
                for detection in detections:
                    detection["category_id"] = self._category(detection["category_id"])
                self._writer.add(image_id, detections)
            if "proposals" in output:
                proposals = output["proposals"].to(torch.device("cpu"))
                self._proposals.append({"image_id": image_id, "proposals": proposals})

    def _category(self, index: int) -> int:
        if index not in self._coco_ids:
            raise ValueError(
                f"A detection has class {index}, but the data set has {len(self._coco_ids)} "
                "classes: set the model's NUM_CLASSES to their number."
            )
        return self._coco_ids[index]

    def evaluate(self, img_ids: Any = None) -> dict[str, Any]:
        """Join the detections of all processes, and measure them in the main one.

        Args:
            img_ids: ids of the images that count; default: all. COCO only.

        Returns:
            For each task its figures in percent, under Detectron2's names; empty in other
            processes than the main one.
        """
        images = self._writer.join()
        proposals, seen = [self._proposals], [self._instances_seen]
        if self._distributed:
            proposals, seen = comm.gather(self._proposals), comm.gather(self._instances_seen)
            if not comm.is_main_process():
                return {}
        together = [record for part in proposals for record in part]
        self._results = OrderedDict()
        if not together and not images:
            logger.warning("No image was evaluated: the data set is empty.")
            return {}
        if together:
            self._eval_box_proposals(together)
        if any(seen):
            self._evaluate_file(img_ids)
        return copy.deepcopy(self._results)

    def _evaluate_file(self, image_ids: Any) -> None:
        if self._output_dir:
            logger.info("Detections: %s", self._writer.path)
        if not self._do_evaluation:
            logger.info("The data set has no annotations: nothing to compare with.")
            return
        found: Records = json.loads(self._writer.path.read_text(encoding="utf-8"))
        for task in sorted(self._tasks or self._tasks_from_predictions(found)):
            self._results[task] = self._measure(found, task, image_ids)

    def _own_classes(self) -> dict[int, int]:
        """Class of each category id, for data sets whose metadata do not tell."""
        raise NotImplementedError

    def _tasks_from_predictions(self, found: Records) -> Any:
        raise NotImplementedError

    def _measure(self, found: Records, task: str, image_ids: Any) -> dict[str, float]:
        raise NotImplementedError


class CocoEvaluator(_OnDisk, COCOEvaluator):
    """Detectron2's COCO evaluator: the same figures and tables, faster, in bounded memory.

    Annotation files may lack "info", "iscrowd" and "area", and masks are evaluated only if all
    annotations have one. The arguments are Detectron2's.
    """

    RESULTS = "coco_instances_results.json"

    def __init__(self, dataset_name: str, **options: Any) -> None:
        super().__init__(dataset_name, **{**options, "use_fast_impl": False})
        dataset = self._coco_api.dataset
        check_truth(self._metadata.json_file, dataset, lvis=False)
        dataset.setdefault("info", {})
        for annotation in dataset.get("annotations", ()):
            annotation.setdefault("iscrowd", 0)  # Detectron2's measure of proposals reads both
            annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
        self._open()

    def _own_classes(self) -> dict[int, int]:
        return {i: i for i in self._coco_api.getCatIds()}

    def _tasks_from_predictions(self, found: Records) -> list[str]:
        tasks: list[str] = COCOEvaluator._tasks_from_predictions(self, found)
        truth = self._coco_api.anns.values()
        if "segm" in tasks and not all("segmentation" in annotation for annotation in truth):
            tasks.remove("segm")
        return tasks

    def _measure(self, found: Records, task: str, image_ids: Any) -> dict[str, float]:
        evaluation = None
        if task == "keypoints":
            self._check_keypoints(found)
        if found:
            evaluation = evaluate_coco(
                self._coco_api.dataset,
                found,
                task,
                max_dets=None if task == "keypoints" else self._max_dets_per_image,
                sigmas=self._kpt_oks_sigmas,
                image_ids=image_ids,
            )
            evaluation.summarize()
        results: dict[str, float] = self._derive_coco_results(
            evaluation, task, class_names=self._metadata.get("thing_classes")
        )
        return results

    def _check_keypoints(self, found: Records) -> None:
        """Keypoints are compared one by one, each with a tolerance of its own."""
        truth = {len(a["keypoints"]) // 3 for a in self._coco_api.anns.values() if "keypoints" in a}
        guessed = {len(d["keypoints"]) // 3 for d in found if "keypoints" in d}
        tolerances = len(self._kpt_oks_sigmas) or _COCO_KEYPOINTS
        if (truth | guessed) - {tolerances}:
            raise UserError(
                f"Keypoints cannot be compared: objects of {self._metadata.json_file} have "
                f"{_listed(truth)}, detections {_listed(guessed)} "
                f"(MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS), and TEST.KEYPOINT_OKS_SIGMAS is for "
                f"{tolerances}{'' if self._kpt_oks_sigmas else ', those of COCO, as it is empty'}; "
                "give all three the same number."
            )


def _listed(counts: set[int]) -> str:
    return " or ".join(map(str, sorted(counts))) or "none"


class LvisEvaluator(_OnDisk, LVISEvaluator):
    """Detectron2's LVIS evaluator: the same figures and tables, faster, in bounded memory."""

    RESULTS = "lvis_instances_results.json"

    def __init__(self, dataset_name: str, **options: Any) -> None:
        super().__init__(dataset_name, **options)
        check_truth(self._metadata.json_file, self._lvis_api.dataset, lvis=True)
        self._open()

    def _own_classes(self) -> dict[int, int]:
        return {i: i - 1 for i in self._lvis_api.get_cat_ids()}

    def _tasks_from_predictions(self, found: Records) -> tuple[str, ...]:
        tasks: tuple[str, ...] = LVISEvaluator._tasks_from_predictions(self, found)
        return tasks

    def _measure(self, found: Records, task: str, image_ids: Any) -> dict[str, float]:
        if not found:
            logger.warning("The model found nothing.")
            return dict.fromkeys(LVIS_METRICS, float("nan"))
        evaluation = evaluate_lvis(
            self._lvis_api.dataset, found, task, max_dets=self._max_dets_per_image or 300
        )
        evaluation.summarize()
        evaluation.print_results()
        figures = evaluation.get_results()
        results = {name: float(figures[name] * 100) for name in LVIS_METRICS}
        logger.info("Evaluation results for %s:\n%s", task, create_small_table(results))
        return results
