"""What all bidirectional pyramids share: who feeds whom, and the fast normalised fusion.

Both are EfficientDet's (Tan et al., 2020): a top-down pass, then a bottom-up pass with skip
connections.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone

from centernet2.errors import UserError

__all__ = ["FIVE_LEVELS", "THREE_LEVELS", "Node", "fuse", "three_octaves"]


class Node(NamedTuple):
    """A fusion: the level it lies on (0 is the finest) and the maps that it fuses.

    Maps are counted by offset: a layer's inputs first, fine to coarse, then the nodes' results in
    their order.
    """

    level: int
    offsets: tuple[int, ...]


# The last nodes, one a level, are the layer's outputs, fine to coarse
FIVE_LEVELS = (
    Node(3, (3, 4)),
    Node(2, (2, 5)),
    Node(1, (1, 6)),
    Node(0, (0, 7)),
    Node(1, (1, 7, 8)),
    Node(2, (2, 6, 9)),
    Node(3, (3, 5, 10)),
    Node(4, (4, 11)),
)
THREE_LEVELS = (
    Node(1, (1, 2)),
    Node(0, (0, 3)),
    Node(1, (1, 3, 4)),
    Node(2, (2, 5)),
)

# Keeps the division defined when all weights of a node are at or below zero
_EPSILON = 1e-4


def fuse(maps: Sequence[torch.Tensor], weights: torch.Tensor) -> torch.Tensor:
    """The sum of maps with weights that are clipped at zero and add up to (nearly) one.

    Args:
        maps: tensors of one shape ``(B, C, H, W)``.
        weights: ``(len(maps),)``, learned.

    Returns:
        ``(B, C, H, W)``.
    """
    positive = weights.relu()
    share = (positive / (positive.sum() + _EPSILON)).to(maps[0].dtype)
    fused = maps[0] * share[0]
    for i in range(1, len(maps)):
        fused = fused + maps[i] * share[i]
    return fused


def three_octaves(bottom_up: Backbone, in_features: Sequence[str]) -> list[ShapeSpec]:
    """The shapes of three maps of a network, checked to be an octave apart.

    Raises:
        UserError: if a map is missing, there are not three, or strides do not double.
    """
    shapes = bottom_up.output_shape()
    missing = [name for name in in_features if name not in shapes]
    if missing:
        raise UserError(f"MODEL.FPN.IN_FEATURES names {missing}; the backbone has {list(shapes)}.")
    chosen = [shapes[name] for name in in_features]
    strides = [shape.stride for shape in chosen]
    if len(strides) != 3 or any(b != 2 * a for a, b in zip(strides, strides[1:])):
        raise UserError(
            "MODEL.FPN.IN_FEATURES must name three maps whose strides double, "
            f"not {list(in_features)} of strides {strides}."
        )
    return chosen
