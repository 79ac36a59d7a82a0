"""From the candidates of an image to its detections: soft-NMS class by class, then the best."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from ..soft_nms import SoftNMSSettings, soft_nms
from .decode import Candidates

__all__ = ["Detections", "best_detections", "round_detections", "suppress"]


class Detections(NamedTuple):
    """What was found in an image, best first.

    Attributes:
        boxes: ``(N, 4)`` float32 XYXY in pixels.
        scores: ``(N,)``.
        classes: ``(N,)`` int64.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    classes: torch.Tensor


def suppress(
    candidates: Candidates, settings: SoftNMSSettings, limit: int = 100, keep_ties: bool = True
) -> Detections:
    """Soft-NMS of the candidates of an image, and the best of what is left.

    The work is done on the CPU, in float32. Classes stop as soon as none of their boxes can be
    among the best any more, which changes nothing of the result.

    Args:
        candidates: ``(N,)``; those of negative score are invalid and left out. Their order matters
            where ``settings.merge`` is on.
        settings: see :class:`SoftNMSSettings`.
        limit: detections an image.
        keep_ties: also those that score as high as the last of them (published).
    """
    valid = candidates.scores >= 0
    parts = (
        candidates.boxes, candidates.scores[:, None],
        candidates.tl_scores[:, None], candidates.br_scores[:, None],
    )  # fmt: skip
    rows = torch.cat([part[valid].float() for part in parts], dim=1).cpu().numpy()
    labels = candidates.classes[valid].cpu().numpy()

    kept = [np.zeros((0, 5), dtype=rows.dtype)]
    kept_labels = [labels[:0]]
    floor = -np.inf
    for label in np.unique(labels):
        kept.append(soft_nms(rows[labels == label], settings, limit, floor)[:, :5])
        kept_labels.append(np.full(len(kept[-1]), label))
        floor = _nth_highest(np.concatenate(kept)[:, 4], limit)
    found = torch.from_numpy(np.concatenate(kept)).to(candidates.boxes.device)
    classes = torch.from_numpy(np.concatenate(kept_labels)).to(found.device)
    return best_detections(Detections(found[:, :4], found[:, 4], classes), limit, keep_ties)


def best_detections(found: Detections, limit: int, keep_ties: bool = True) -> Detections:
    """The ``limit`` detections of the highest scores, sorted.

    Args:
        found: in any order.
        limit: see above.
        keep_ties: also those that score as high as the last of them.
    """
    order = found.scores.argsort(descending=True, stable=True)
    if keep_ties and len(order) > limit:
        limit = int((found.scores >= found.scores[order[limit - 1]]).sum())
    return Detections(*(part[order[:limit]] for part in found))


def round_detections(found: Detections, decimals: int = 2) -> Detections:
    """Round x, y, width, height and score, as the published result files do.

    Equal scores are ranked by position then, which changes AP a little.
    """
    corner, size = found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]
    corner, size = corner.round(decimals=decimals), size.round(decimals=decimals)
    boxes = torch.cat([corner, corner + size], dim=1)
    return Detections(boxes, found.scores.round(decimals=decimals), found.classes)


def _nth_highest(scores: np.ndarray, n: int) -> float:
    if len(scores) < n:
        return -np.inf
    return float(np.partition(scores, len(scores) - n)[len(scores) - n])
