"""Time of the heatmaps' targets and their focal loss, apart from any network."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from detectron2.config import get_cfg

from centernet2.config import add_centernet_config
from centernet2.modeling.centernet.box_batch import TargetParams
from centernet2.modeling.centernet.grid import make_grid
from centernet2.modeling.centernet.losses import LossParams, heatmap_losses
from centernet2.modeling.centernet.targets import CenterNetTargets, assign_targets

from .scenes import random_boxes
from .timing import Step, finish

__all__ = ["TargetCase", "target_steps"]


@dataclass(frozen=True)
class TargetCase:
    """What the targets are made for.

    Attributes:
        size: height and width of the images in pixels.
        images: of the batch.
        boxes: of each image.
        classes: channels of the heatmap; 1 is class-agnostic.
    """

    size: tuple[int, int] = (800, 1216)
    images: int = 2
    boxes: int = 200
    classes: int = 1

    @property
    def name(self) -> str:
        """For tables."""
        kind = "agnostic" if self.classes == 1 else f"{self.classes} classes"
        return f"{self.images} x {self.boxes} boxes, {kind}"


def target_steps(case: TargetCase, device: str = "cpu") -> dict[str, Step]:
    """Two steps: the assignment of the targets, and the heatmap loss forward and backward."""
    cfg = get_cfg()
    add_centernet_config(cfg)
    keys = cfg.MODEL.CENTERNET
    delta = (1 - keys.HM_MIN_OVERLAP) / (1 + keys.HM_MIN_OVERLAP)
    params = TargetParams(soi=keys.SOI, delta=delta, min_radius=keys.MIN_RADIUS)
    shapes = [tuple(math.ceil(side / s) for side in case.size) for s in keys.FPN_STRIDES]
    grid = make_grid(shapes, keys.FPN_STRIDES, torch.device(device))
    generator = torch.Generator().manual_seed(0)
    boxes = [random_boxes(case.boxes, case.size, generator).to(device) for _ in range(case.images)]
    classes = [
        torch.randint(case.classes, (case.boxes,), generator=generator).to(device)
        for _ in range(case.images)
    ]
    logits = [
        torch.randn(case.images, case.classes, *shape, generator=generator)
        .sub_(4)
        .to(device)
        .requires_grad_()
        for shape in shapes
    ]

    def make() -> CenterNetTargets:
        given = None if case.classes == 1 else classes
        return assign_targets(grid, boxes, given, case.classes, params)

    def assign(_: int) -> None:
        make()
        finish(device)

    targets = make()

    def learn(_: int) -> None:
        positive, negative = heatmap_losses(
            grid, logits, targets.peaks, targets.pos_index, targets.pos_class,
            torch.tensor(1.0, device=device), LossParams(),
        )  # fmt: skip
        (positive + negative).backward()
        for level in logits:
            level.grad = None
        finish(device)

    return {f"targets of {case.name}": assign, f"heatmap loss of {case.name}": learn}
