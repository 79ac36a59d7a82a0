"""What the network of keypoint triplets says about every cell of an image."""

from __future__ import annotations

from typing import NamedTuple

import torch

__all__ = ["TripletMaps"]


class TripletMaps(NamedTuple):
    """Raw maps of one stack for N images of K classes, on a grid of stride 4.

    ``tl``, ``br`` and ``ct`` are the top-left corner, the bottom-right corner and the centre of a
    box. CornerNet has no centres: both of their maps are None.

    Attributes:
        tl_heat, br_heat, ct_heat: ``(N, K, H, W)`` logits.
        tl_tag, br_tag: ``(N, 1, H, W)``; the corners of one object have nearly equal tags.
        tl_offset, br_offset, ct_offset: ``(N, 2, H, W)`` of x, y: what truncation to a cell left
            out, in cells.
    """

    tl_heat: torch.Tensor
    br_heat: torch.Tensor
    tl_tag: torch.Tensor
    br_tag: torch.Tensor
    tl_offset: torch.Tensor
    br_offset: torch.Tensor
    ct_heat: torch.Tensor | None = None
    ct_offset: torch.Tensor | None = None
