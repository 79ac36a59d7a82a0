"""IoU losses of boxes given as distances (left, top, right, bottom) from a shared location."""

from __future__ import annotations

import torch

__all__ = ["box_loss_per_location", "distance_box_loss"]


def box_loss_per_location(
    pred: torch.Tensor, target: torch.Tensor, kind: str = "giou"
) -> torch.Tensor:
    """Loss of each predicted box.

    ``IoU = (I + 1) / (U + 1)``: the ones are part of the published loss and matter for boxes of a
    few cells. ``GIoU = IoU - (A - U) / A`` with the enclosing area ``A`` has none.

    Args:
        pred: ``(N, 4)`` distances l, t, r, b >= 0, in units of the level's stride.
        target: ``(N, 4)``, the same for the true boxes.
        kind: ``"giou"`` (1 - GIoU), ``"iou"`` (-log IoU) or ``"linear_iou"`` (1 - IoU).

    Returns:
        ``(N,)`` losses in float32 at least (areas overflow in float16).

    Raises:
        ValueError: if ``kind`` is unknown.
    """
    if pred.dtype in (torch.float16, torch.bfloat16):
        pred = pred.float()
    target = target.to(pred.dtype)

    def area(distances: torch.Tensor) -> torch.Tensor:
        left, top, right, bottom = distances.unbind(dim=1)
        return (left + right) * (top + bottom)

    # Both boxes hold the same location, so their intersection is the box of the least distances
    inter = area(torch.minimum(pred, target))
    union = area(pred) + area(target) - inter
    iou = (inter + 1) / (union + 1)
    if kind == "iou":
        return -iou.log()
    if kind == "linear_iou":
        return 1 - iou
    if kind == "giou":
        enclosing = area(torch.maximum(pred, target)).clamp(min=torch.finfo(pred.dtype).tiny)
        return 1 - (iou - (enclosing - union) / enclosing)
    raise ValueError(
        f"unknown box loss {kind!r}: "
        "set MODEL.CENTERNET.LOC_LOSS_TYPE to 'giou', 'iou' or 'linear_iou'"
    )


def distance_box_loss(
    pred: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    kind: str = "giou",
) -> torch.Tensor:
    """Sum of :func:`box_loss_per_location`, weighted by ``weight`` of shape ``(N,)`` if given.

    Zero boxes give a zero that is still attached to the graph of ``pred``.
    """
    losses = box_loss_per_location(pred, target, kind)
    return losses.sum() if weight is None else (losses * weight).sum()
