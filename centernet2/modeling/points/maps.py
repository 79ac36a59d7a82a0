"""What the network says about every cell of an image."""

from __future__ import annotations

from typing import NamedTuple

import torch

__all__ = ["PointMaps"]


class PointMaps(NamedTuple):
    """Raw maps of one stack for N images of K classes and J joints, on a grid of stride 4.

    All lengths are in cells, x before y. Without pose the last three are None.

    Attributes:
        hm: ``(N, K, H, W)`` logits of the centres.
        wh: ``(N, 2, H, W)`` width and height of the box around a centre.
        reg: ``(N, 2, H, W)`` what truncation of a centre to its cell left out.
        hps: ``(N, 2J, H, W)`` x and y of each joint, from the cell of the centre.
        hm_hp: ``(N, J, H, W)`` logits of the joints.
        hp_offset: ``(N, 2, H, W)`` what truncation of a joint to its cell left out, for all joints.
    """

    hm: torch.Tensor
    wh: torch.Tensor
    reg: torch.Tensor
    hps: torch.Tensor | None = None
    hm_hp: torch.Tensor | None = None
    hp_offset: torch.Tensor | None = None

    def rows(self, rows: slice) -> PointMaps:
        """The maps of some of the images."""
        hps, hm_hp, offset = (None if p is None else p[rows] for p in self[3:])
        return PointMaps(self.hm[rows], self.wh[rows], self.reg[rows], hps, hm_hp, offset)
