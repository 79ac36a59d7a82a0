"""Detection on several resized and mirrored views of each image, merged into one result."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from torch import nn
from torchvision.ops import batched_nms

__all__ = ["TestTimeAugmentation", "merge_detections"]


class View(NamedTuple):
    """An image as the model is shown it."""

    image: int  # place in the batch
    pixels: torch.Tensor  # (3, h, w), not mirrored yet
    mirrored: bool


class TestTimeAugmentation(nn.Module):
    """A detector that looks at resized and mirrored views; called as the detector itself.

    Detectron2's ``GeneralizedRCNNWithTTA`` differs: it knows two-stage models only, pads views of
    different sizes to batches, and keeps the masks of all views until the end. Here

    - any detector works whose output is boxes, scores and classes; scores stay as it gives them;
    - views of equal size go together, whichever image they are of. Nothing is padded for the sake
      of a batch, so that group normalisation gives a view the same features in any company;
    - one size of the images is held at a time, and masks are summed as they come.

    The boxes of all views are merged by :func:`merge_detections`. A mask head is then run at the
    merged boxes on every view, and the mirrored-back mask probabilities are averaged.

    Example::

        model = TestTimeAugmentation(model, [T.ResizeShortestEdge(800, 1333)], mirror=True)
        outputs = model([{"image": image, "height": 480, "width": 640}])
    """

    __test__ = False  # no test class, pytest

    def __init__(
        self,
        model: nn.Module,
        resizes: Sequence[T.Augmentation],
        *,
        mirror: bool = True,
        nms_thresh: float = 0.5,
        max_detections: int = 100,
        views_per_batch: int = 4,
    ) -> None:
        """
        Args:
            model: a detector with Detectron2's interface and no keypoint head. Its weights are
                shared, and it is put to training and evaluation along with this module.
            resizes: one a size; they may resize and nothing else.
            mirror: whether to show each size a second time, flipped horizontally.
            nms_thresh: intersection over union above which boxes of one class are one object.
            max_detections: most detections an image.
            views_per_batch: most views that the model is shown at once.
        """
        super().__init__()
        self.model = model
        self.training = model.training
        self.resizes = list(resizes)
        self.mirror = mirror
        self.nms_thresh = nms_thresh
        self.max_detections = max_detections
        self.views_per_batch = views_per_batch

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """
        Args:
            batched_inputs: Detectron2's standard dicts: ``image`` ``(3, H, W)`` of any size, best
                not resized before; optionally ``height`` and ``width`` of the output.

        Returns:
            One ``{"instances": Instances}`` an image, best score first, in pixels of the output:
            ``pred_boxes``, ``scores``, ``pred_classes`` and, with a mask head, ``pred_masks``.
        """
        images = [x["image"] for x in batched_inputs]
        sizes = [
            (int(x.get("height", image.shape[1])), int(x.get("width", image.shape[2])))
            for x, image in zip(batched_inputs, images)
        ]
        merged = self._detect(images, sizes)
        if _has_masks(self.model):
            merged = self._add_masks(images, merged)
        return [{"instances": found} for found in merged]

    def _detect(self, images: list[torch.Tensor], sizes: list[tuple[int, int]]) -> list[Instances]:
        found: list[list[Instances]] = [[] for _ in images]
        with _no_masks(self.model):
            for views in self._batches(images, range(len(images))):
                inputs = [
                    {**_model_input(v), "height": sizes[v.image][0], "width": sizes[v.image][1]}
                    for v in views
                ]
                for view, output in zip(views, self.model(inputs)):
                    instances = output["instances"]
                    if view.mirrored:
                        _mirror_boxes(instances.pred_boxes, instances.image_size[1])
                    found[view.image].append(instances)
        return [merge_detections(f, self.nms_thresh, self.max_detections) for f in found]

    def _add_masks(self, images: list[torch.Tensor], merged: list[Instances]) -> list[Instances]:
        # Some mask heads cannot do without boxes, and an image without any needs no second look.
        occupied = [i for i, found in enumerate(merged) if len(found)]
        sums: dict[int, torch.Tensor] = {}
        model: Any = self.model
        for views in self._batches(images, occupied):
            given = [_in_view(merged[v.image], v) for v in views]
            inputs = [_model_input(v) for v in views]
            outputs = model.inference(inputs, given, do_postprocess=False)
            for view, output in zip(views, outputs):
                masks = output.pred_masks.flip(-1) if view.mirrored else output.pred_masks
                sums[view.image] = sums[view.image] + masks if view.image in sums else masks
        number = len(self.resizes) * (2 if self.mirror else 1)
        results = []
        for i, found in enumerate(merged):
            none = found.scores.new_zeros((0, 1, 1, 1))
            found.pred_masks = sums[i] / number if i in sums else none
            results.append(detector_postprocess(found, *found.image_size))
        return results

    def _batches(
        self, images: Sequence[torch.Tensor], chosen: Sequence[int]
    ) -> Iterator[list[View]]:
        mirrorings = (False, True) if self.mirror else (False,)
        for resize in self.resizes:
            by_size: dict[torch.Size, list[View]] = defaultdict(list)
            for i in chosen:
                pixels = _resized(images[i], resize)
                by_size[pixels.shape].extend(View(i, pixels, m) for m in mirrorings)
            for views in by_size.values():
                for start in range(0, len(views), self.views_per_batch):
                    yield views[start : start + self.views_per_batch]


def merge_detections(
    found: Sequence[Instances], nms_thresh: float, max_detections: int
) -> Instances:
    """Merge detections of one image by suppression within each class.

    Args:
        found: at least one; of one size, each with ``pred_boxes``, ``scores``, ``pred_classes``.
        nms_thresh: of two boxes of a class that overlap more, the one of lower score goes.
        max_detections: the best so many stay.

    Returns:
        The same three fields, best score first.
    """
    boxes = torch.cat([f.pred_boxes.tensor for f in found])
    scores = torch.cat([f.scores for f in found])
    classes = torch.cat([f.pred_classes for f in found])
    # Classes are kept apart by shifting their boxes: only exact with more bits than float32 has.
    keep = batched_nms(boxes.double(), scores.double(), classes, nms_thresh)[:max_detections]
    return Instances(
        found[0].image_size,
        pred_boxes=Boxes(boxes[keep]),
        scores=scores[keep],
        pred_classes=classes[keep],
    )


def _resized(image: torch.Tensor, resize: T.Augmentation) -> torch.Tensor:
    view = T.AugInput(image.permute(1, 2, 0).cpu().numpy())
    resize(view)
    return torch.from_numpy(np.ascontiguousarray(view.image.transpose(2, 0, 1)))


def _model_input(view: View) -> dict[str, Any]:
    return {"image": view.pixels.flip(-1) if view.mirrored else view.pixels}


def _in_view(found: Instances, view: View) -> Instances:
    """Boxes and classes of an image at the place where a view shows them."""
    height, width = view.pixels.shape[1:]
    boxes = found.pred_boxes.clone()
    boxes.scale(width / found.image_size[1], height / found.image_size[0])
    if view.mirrored:
        _mirror_boxes(boxes, width)
    return Instances((height, width), pred_boxes=boxes, pred_classes=found.pred_classes)


def _mirror_boxes(boxes: Boxes, width: int) -> None:
    left, right = boxes.tensor[:, 0].clone(), boxes.tensor[:, 2].clone()
    boxes.tensor[:, 0], boxes.tensor[:, 2] = width - right, width - left


def _has_masks(model: nn.Module) -> bool:
    return isinstance(model, GeneralizedRCNN) and getattr(model.roi_heads, "mask_on", False)


@contextmanager
def _no_masks(model: nn.Module) -> Iterator[None]:
    if not _has_masks(model):
        yield
        return
    heads: Any = model.roi_heads
    heads.mask_on = False
    try:
        yield
    finally:
        heads.mask_on = True
