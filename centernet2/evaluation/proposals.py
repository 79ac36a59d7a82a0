"""Recall of a first stage: which part of the objects its best k proposals cover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from detectron2.evaluation.coco_evaluation import _evaluate_box_proposals
from detectron2.modeling import GeneralizedRCNN, ProposalNetwork
from detectron2.structures import Boxes, Instances
from pycocotools.coco import COCO
from torch import nn

from centernet2.errors import UserError
from centernet2.evaluation.coco import CocoEvaluator

__all__ = ["COUNTS", "SIZES", "ProposalEvaluator", "ProposalRecall", "first_stage", "recall_of"]

COUNTS = (10, 50, 100, 256, 500, 1000)
# Detectron2's letters in the names of metrics; the limits are COCO's, 32^2 and 96^2 pixels
SIZES = {"all": "", "small": "s", "medium": "m", "large": "l"}


@dataclass(frozen=True)
class ProposalRecall:
    """Recall of proposals.

    Attributes:
        counts: K numbers of proposals an image, rising.
        ious: T thresholds, 0.5 to 0.95.
        recall: ``(K, T)`` in [0, 1] for each of :data:`SIZES`, NaN without objects of that size.
        objects: how many objects there are of each size.
        proposals: mean number of proposals that an image had, before any was cut off.
    """

    counts: tuple[int, ...]
    ious: npt.NDArray[np.float64]
    recall: Mapping[str, npt.NDArray[np.float64]]
    objects: Mapping[str, int]
    proposals: float

    def average(self, size: str = "all") -> npt.NDArray[np.float64]:
        """``(K,)`` average recall over the thresholds, in percent."""
        return 100 * self.recall[size].mean(axis=1)

    def metrics(self) -> dict[str, float]:
        """Average recall in percent under Detectron2's names: "AR@100", "ARs@100", ..."""
        return {
            f"AR{letter}@{count}": float(value)
            for size, letter in SIZES.items()
            for count, value in zip(self.counts, self.average(size))
        }


def recall_of(
    found: Sequence[Mapping[str, Any]], truth: COCO, counts: Sequence[int] = COUNTS
) -> ProposalRecall:
    """Measure proposals as Detectron2 does, and count what images without proposals miss.

    In each image, pairs of an object and one of the k best proposals are taken by falling IoU,
    each at most once; an object is recalled at the thresholds up to its pair's IoU. Crowds and
    classes are left out.

    Args:
        found: one record an image: "image_id" and "proposals", ``Instances`` on the CPU with
            ``proposal_boxes`` (XYXY in pixels of the original image) and ``objectness_logits``.
        truth: annotations with "bbox", "area" and "iscrowd".
        counts: values of k.
    """
    records = [
        record if len(record["proposals"]) else {**record, "proposals": _nothing()}
        for record in found
    ]
    ordered = tuple(sorted(set(counts)))
    recall, objects, ious = {}, {}, np.empty(0)
    for size in SIZES:
        measured = [_evaluate_box_proposals(records, truth, area=size, limit=k) for k in ordered]
        recall[size] = torch.stack([m["recalls"] for m in measured]).double().numpy()
        objects[size] = int(measured[0]["num_pos"])
        ious = measured[0]["thresholds"].double().numpy()
    mean = float(np.mean([len(record["proposals"]) for record in found])) if found else 0.0
    return ProposalRecall(ordered, ious, recall, objects, mean)


def _nothing() -> Instances:
    """A proposal that covers nothing: Detectron2 forgets the objects of an image without any."""
    nothing = Instances((0, 0))
    nothing.proposal_boxes = Boxes(torch.zeros(1, 4))
    nothing.objectness_logits = torch.zeros(1)
    return nothing


class ProposalEvaluator(CocoEvaluator):
    """Recall of proposals on a data set with an annotation file in COCO's or LVIS's format.

    Attributes:
        recall: what was measured last, in the main process.
    """

    recall: ProposalRecall | None = None

    def __init__(self, dataset_name: str, counts: Sequence[int] = COUNTS, **options: Any) -> None:
        """
        Args:
            dataset_name: a registered data set.
            counts: numbers of proposals an image to measure with.
            options: Detectron2's.

        Raises:
            UserError: if the data set has no annotations.
        """
        super().__init__(dataset_name, **options)
        if not self._do_evaluation:
            raise UserError(
                f"Data set '{dataset_name}' has no annotations to compare proposals with: name "
                "another in DATASETS.TEST."
            )
        self._counts = counts

    def _eval_box_proposals(self, predictions: list[dict[str, Any]]) -> None:
        self.recall = recall_of(predictions, self._coco_api, self._counts)
        self._results["box_proposals"] = self.recall.metrics()


def first_stage(model: nn.Module) -> ProposalNetwork:
    """The part of a two-stage detector that proposes boxes, as a model of its own.

    The parts are shared, not copied.

    Raises:
        UserError: if the detector has no first stage.
    """
    two_stages = isinstance(model, (GeneralizedRCNN, ProposalNetwork))
    generator = model.proposal_generator if two_stages else None
    if generator is None:
        raise UserError(
            f"{type(model).__name__} has no first stage that proposes boxes: name the config of a "
            "two-stage detector."
        )
    mean, std = model.get_buffer("pixel_mean"), model.get_buffer("pixel_std")
    network = ProposalNetwork(
        backbone=model.backbone,
        proposal_generator=generator,
        pixel_mean=mean.flatten().tolist(),
        pixel_std=std.flatten().tolist(),
    )
    return network.to(mean.device).train(model.training)
