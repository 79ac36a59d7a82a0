"""From maps to boxes: detections or proposals of the CenterNet head (report section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from detectron2.structures import Boxes, Instances
from torchvision.ops import batched_nms

from .grid import Grid

__all__ = ["DecodeParams", "box_corners", "decode"]

# Least width and height of a decoded box, in pixels
MIN_BOX_SIZE = 0.01
# Candidates suppressed at first, as a multiple of the boxes that are wanted
SUPPRESSED_FIRST = 4


@dataclass(frozen=True)
class DecodeParams:
    """How candidates are chosen.

    Attributes:
        score_thresh: candidates need a class score above this.
        pre_nms_topk: candidates kept a level.
        post_nms_topk: boxes kept an image.
        nms_thresh: IoU above which the lower of two boxes of a class goes.
        not_nms: no suppression.
        center_nms: keep 3x3 local maxima of the maps instead of suppressing boxes.
    """

    score_thresh: float
    pre_nms_topk: int
    post_nms_topk: int
    nms_thresh: float
    not_nms: bool = False
    center_nms: bool = False


@torch.no_grad()
def decode(
    grid: Grid,
    class_logits: Sequence[torch.Tensor] | None,
    agnostic_logits: Sequence[torch.Tensor] | None,
    box_maps: Sequence[torch.Tensor],
    image_sizes: Sequence[tuple[int, int]],
    params: DecodeParams,
) -> list[Instances]:
    """Detections of each image, best first.

    The score of a candidate is the product of its class and agnostic probabilities, whichever
    exist (the threshold is applied to the class probability alone); where there is an agnostic
    map, also alone, the square root is taken (as published).

    Args:
        grid: cells of an image.
        class_logits: one ``(B, C, H_l, W_l)`` a level, or None for class-agnostic proposals.
        agnostic_logits: one ``(B, 1, H_l, W_l)`` a level, or None.
        box_maps: one ``(B, 4, H_l, W_l)`` a level, l, t, r, b in units of the stride.
        image_sizes: (height, width) of each image; boxes are not clipped to it.
        params: see :class:`DecodeParams`.

    Returns:
        One ``Instances`` an image with ``pred_boxes``, ``scores`` and ``pred_classes``.

    Raises:
        ValueError: if there are neither class nor agnostic maps.
    """
    main = class_logits if class_logits is not None else agnostic_logits
    if main is None:
        raise ValueError("decode needs class or agnostic heatmaps")
    factor = agnostic_logits if class_logits is not None else None

    levels = []
    locations = grid.locations.split(grid.level_sizes)
    strides = grid.strides.split(grid.level_sizes)
    for level, logits in enumerate(main):
        agnostic = factor[level].float().sigmoid() if factor is not None else None
        scores, index = _level_candidates(logits.float().sigmoid(), agnostic, params)
        num_classes = logits.shape[1]
        cell = torch.div(index, num_classes, rounding_mode="floor")
        distances = box_maps[level].float().flatten(2).transpose(1, 2)
        distances = distances.gather(1, cell[..., None].expand(-1, -1, 4))
        boxes = box_corners(locations[level][cell], distances, strides[level][cell])
        levels.append((scores, boxes, index - cell * num_classes))

    scores, boxes, classes = (torch.cat(parts, dim=1) for parts in zip(*levels))
    if agnostic_logits is not None:
        scores = torch.where(scores < 0, scores, scores.abs().sqrt())  # -1 marks "no candidate"
    return [
        _select(boxes[i], scores[i], classes[i], size, params) for i, size in enumerate(image_sizes)
    ]


def _level_candidates(
    heat: torch.Tensor, agnostic: torch.Tensor | None, params: DecodeParams
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best (cell, class) pairs of a level.

    Returns:
        ``(B, K)`` scores, -1 where there is no candidate left, and ``(B, K)`` indices into the
        level's ``cells * classes``. ``K`` depends on the shapes only: nothing waits for the device.
    """
    if params.center_nms:
        heat = heat * (F.max_pool2d(heat, 3, stride=1, padding=1) == heat)
    score = heat if agnostic is None else heat * agnostic
    score = torch.where(heat > params.score_thresh, score, -1.0)
    flat = score.flatten(2).transpose(1, 2).flatten(1)
    return flat.topk(min(params.pre_nms_topk, flat.shape[1]), dim=1)


def box_corners(
    locations: torch.Tensor, distances: torch.Tensor, strides: torch.Tensor
) -> torch.Tensor:
    """``(..., 4)`` XYXY boxes from ``(..., 2)`` locations, distances l, t, r, b and strides."""
    distances = distances * strides[..., None]
    low = locations - distances[..., :2]
    high = torch.maximum(locations + distances[..., 2:], low + MIN_BOX_SIZE)
    return torch.cat([low, high], dim=-1)


def _select(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    classes: torch.Tensor,
    image_size: tuple[int, int],
    params: DecodeParams,
) -> Instances:
    """Suppress and cut the candidates of one image: ``(K, 4)``, ``(K,)``, ``(K,)``."""
    found = scores >= 0
    boxes, scores, classes = boxes[found], scores[found], classes[found]
    keep = scores.argsort(descending=True, stable=True)
    if not (params.not_nms or params.center_nms):
        # A box is only suppressed by better ones: if enough of the best stay, the rest is not asked
        best = keep[: SUPPRESSED_FIRST * params.post_nms_topk]
        stay = _suppress(boxes[best], scores[best], classes[best], params.nms_thresh)
        if len(stay) < params.post_nms_topk and len(best) < len(keep):
            best, stay = (
                keep,
                _suppress(boxes[keep], scores[keep], classes[keep], params.nms_thresh),
            )
        keep = best[stay]
    keep = keep[: params.post_nms_topk]
    result = Instances(image_size)
    result.pred_boxes = Boxes(boxes[keep])
    result.scores = scores[keep]
    result.pred_classes = classes[keep]
    return result


def _suppress(
    boxes: torch.Tensor, scores: torch.Tensor, classes: torch.Tensor, threshold: float
) -> torch.Tensor:
    """Indices of the boxes that no better one of their class overlaps, best first."""
    # batched_nms keeps classes apart by shifting their boxes. That is only right for positive
    # coordinates, and only exact with more bits than float32 has
    shifted = (boxes - boxes.amin()) if len(boxes) else boxes
    return batched_nms(shifted.double(), scores.double(), classes, threshold)
