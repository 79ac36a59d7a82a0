"""The convolutional head that CenterNet runs on every pyramid level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.layers import ShapeSpec, get_norm
from torch import nn

from ...layers import ModulatedDeformConv

__all__ = ["CenterNetHead", "HeadOutputs"]


class HeadOutputs(NamedTuple):
    """Maps of all levels; each list holds one tensor a level.

    Attributes:
        class_logits: ``(B, C, H_l, W_l)``, or None without per-class heatmaps.
        agnostic_logits: ``(B, 1, H_l, W_l)``, or None without the agnostic heatmap.
        boxes: ``(B, 4, H_l, W_l)`` distances l, t, r, b >= 0 in units of the level's stride.
    """

    class_logits: list[torch.Tensor] | None
    agnostic_logits: list[torch.Tensor] | None
    boxes: list[torch.Tensor]


class Scale(nn.Module):
    """A learned factor (the parameter has shape ``(1,)``, as in published checkpoints)."""

    def __init__(self, init_value: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([init_value]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


class CenterNetHead(nn.Module):
    """Towers and outputs, shared by all levels; only the box scale is a level's own."""

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        num_levels: int,
        num_classes: int = 80,
        with_agn_hm: bool = False,
        only_proposal: bool = False,
        norm: str = "GN",
        num_cls_convs: int = 4,
        num_box_convs: int = 4,
        num_share_convs: int = 0,
        use_deformable: bool = False,
        prior_prob: float = 0.01,
    ) -> None:
        """
        Args:
            in_channels: channels of the input, of the towers too.
            num_levels: number of levels.
            num_classes: channels of the per-class heatmap.
            with_agn_hm: predict the class-agnostic heatmap (from the box tower).
            only_proposal: leave out the per-class heatmaps and their tower.
            norm: "GN" or another name that Detectron2's ``get_norm`` knows, "" for none.
            num_cls_convs, num_box_convs, num_share_convs: depth of the towers.
            use_deformable: make the last convolution of each tower deformable.
            prior_prob: initial probability of an object, sets the heatmaps' bias.

        Raises:
            ValueError: if neither heatmap is asked for, or GN does not fit the channels.
        """
        super().__init__()
        if only_proposal and not with_agn_hm:
            raise ValueError(
                "MODEL.CENTERNET.ONLY_PROPOSAL leaves the head without a heatmap: "
                "set MODEL.CENTERNET.WITH_AGN_HM to True as well"
            )
        num_cls_convs = 0 if only_proposal else num_cls_convs
        self.share_tower = _tower(in_channels, num_share_convs, norm, use_deformable)
        self.cls_tower = _tower(in_channels, num_cls_convs, norm, use_deformable)
        self.bbox_tower = _tower(in_channels, num_box_convs, norm, use_deformable)
        self.bbox_pred = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.scales = nn.ModuleList(Scale() for _ in range(num_levels))
        self.agn_hm = nn.Conv2d(in_channels, 1, 3, padding=1) if with_agn_hm else None
        self.cls_logits = (
            None if only_proposal else nn.Conv2d(in_channels, num_classes, 3, padding=1)
        )
        self._init_weights(prior_prob)

    def _init_weights(self, prior_prob: float) -> None:
        for module in self.modules():
            # The offsets of deformable convolutions are among these (as published)
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.bbox_pred.bias, 8.0)  # type: ignore[arg-type]
        for heatmap in (self.agn_hm, self.cls_logits):
            if heatmap is not None:
                nn.init.constant_(heatmap.bias, -math.log((1 - prior_prob) / prior_prob))  # type: ignore[arg-type]

    @classmethod
    def from_config(cls, cfg: Any, input_shape: Sequence[ShapeSpec]) -> dict[str, Any]:
        c = cfg.MODEL.CENTERNET
        channels = {shape.channels for shape in input_shape}
        if len(channels) != 1:
            raise ValueError(
                f"the levels of MODEL.CENTERNET.IN_FEATURES differ in channels: {channels}"
            )
        return {
            "in_channels": channels.pop(),
            "num_levels": len(input_shape),
            "num_classes": c.NUM_CLASSES,
            "with_agn_hm": c.WITH_AGN_HM,
            "only_proposal": c.ONLY_PROPOSAL,
            "norm": c.NORM,
            "num_cls_convs": c.NUM_CLS_CONVS,
            "num_box_convs": c.NUM_BOX_CONVS,
            "num_share_convs": c.NUM_SHARE_CONVS,
            "use_deformable": c.USE_DEFORMABLE,
            "prior_prob": c.PRIOR_PROB,
        }

    def forward(self, features: Sequence[torch.Tensor]) -> HeadOutputs:
        """
        Args:
            features: one ``(B, in_channels, H_l, W_l)`` a level.
        """
        class_logits, agnostic_logits, boxes = [], [], []
        for feature, scale in zip(features, self.scales):
            shared = self.share_tower(feature)
            box_feature = self.bbox_tower(shared)
            boxes.append(F.relu(scale(self.bbox_pred(box_feature))))
            if self.agn_hm is not None:
                agnostic_logits.append(self.agn_hm(box_feature))
            if self.cls_logits is not None:
                class_logits.append(self.cls_logits(self.cls_tower(shared)))
        return HeadOutputs(class_logits or None, agnostic_logits or None, boxes)


def _tower(channels: int, depth: int, norm: str, use_deformable: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        if use_deformable and i == depth - 1:
            layers.append(ModulatedDeformConv(channels, channels, bias=True))
        else:
            layers.append(nn.Conv2d(channels, channels, 3, padding=1))
        if norm == "GN":
            layers.append(_group_norm(channels))
        elif norm:
            layers.append(get_norm(norm, channels))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def _group_norm(channels: int) -> nn.GroupNorm:
    # 25 groups for odd widths is what the published models were trained with
    groups = 32 if channels % 32 == 0 else 25
    if channels % groups:
        raise ValueError(
            f"MODEL.CENTERNET.NORM GN needs a multiple of 32 or of 25 channels, not {channels}: "
            "change the width of the pyramid (MODEL.FPN.OUT_CHANNELS)"
        )
    return nn.GroupNorm(groups, channels)
