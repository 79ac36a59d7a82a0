"""What was found in several sizes of an image, as one list: soft-NMS class by class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..soft_nms import SoftNMSSettings, soft_nms
from .decode import Found

__all__ = ["join", "keep_best", "suppress"]


def join(found: Sequence[Found]) -> Found:
    """All objects of one image, those of each size behind those of the size before."""
    joints = [f.joints for f in found if f.joints is not None]
    return Found(
        torch.cat([f.boxes for f in found]),
        torch.cat([f.scores for f in found]),
        torch.cat([f.classes for f in found]),
        torch.cat(joints) if joints else None,
    )


def suppress(found: Found, settings: SoftNMSSettings) -> Found:
    """Let the scores of overlapping boxes of one class decay; on the CPU.

    Args:
        found: objects of one image in its pixels.
        settings: of the soft-NMS; ``carry_scores`` must be on. With ``keep_stale`` some objects are
            there twice, as published.
    """
    boxes, scores = found.boxes.float().cpu().numpy(), found.scores.float().cpu().numpy()
    labels = found.classes.cpu().numpy()
    # Exact up to 2^24
    number = np.arange(len(scores), dtype=np.float32)
    rows = np.concatenate([boxes, scores[:, None], number[:, None]], axis=1)
    kept = [soft_nms(rows[labels == label], settings) for label in np.unique(labels)]
    together = np.concatenate([rows[:0], *kept])
    index = torch.from_numpy(together[:, 5].astype(np.int64)).to(found.boxes.device)
    decayed = torch.from_numpy(together[:, 4]).to(found.scores)
    return found.take(index)._replace(scores=decayed)


def keep_best(found: Found, limit: int | None) -> Found:
    """Sort by score; keep the ``limit`` best, and those that score as high as the last of them."""
    order = found.scores.argsort(descending=True, stable=True)
    if limit is not None and len(order) > limit:
        least = found.scores[order[limit - 1]]
        order = order[: int((found.scores >= least).sum())]
    return found.take(order)
