"""The heads: two convolutions for each output, behind each map of the backbone."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from detectron2.config import configurable
from torch import nn

from centernet2.errors import UserError

from ...layers import separable_conv3x3
from .maps import PointMaps

__all__ = ["PointsHead"]

# sigmoid(-2.19) = 0.1: initial probability of a keypoint at a cell
_HEAT_BIAS = -2.19
_INITS = ("zero_bias", "normal", "default")


class PointsHead(nn.Module):
    """Outputs ``hm``, ``wh``, ``reg`` and for pose ``hps``, ``hm_hp``, ``hp_offset``.

    Parameters are named as in the published files: ``hm.0.weight``, ``hm.2.weight``; with
    hourglasses ``hm.<stack>.0.conv.weight``, ``hm.<stack>.1.weight``.
    """

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int = 80,
        num_joints: int = 0,
        hidden: int = 256,
        num_stacks: int = 0,
        separable: bool = False,
        init: str = "zero_bias",
    ) -> None:
        """
        Args:
            in_channels: of the backbone's maps.
            num_classes: channels of ``hm``.
            num_joints: of a person; 0: no pose.
            hidden: channels between the two convolutions.
            num_stacks: of hourglasses, each with heads of its own; 0 for other backbones.
            separable: split the first convolution into a depth-wise and a point-wise one.
            init: "zero_bias", "normal" or "default": what the published DLA, ResNet and Hourglass
                start from.

        Raises:
            UserError: for another ``init``.
        """
        super().__init__()
        if init not in _INITS:
            raise UserError(
                f"MODEL.POINTS.HEAD_INIT is '{init}'; choose one of 'zero_bias', 'normal', "
                "'default'."
            )
        channels = {"hm": num_classes, "wh": 2, "reg": 2}
        if num_joints:
            channels.update(hps=2 * num_joints, hm_hp=num_joints, hp_offset=2)
        self.num_stacks = num_stacks
        for name, outputs in channels.items():
            branches = [
                _branch(in_channels, hidden, outputs, separable, stacked=num_stacks > 0)
                for _ in range(max(num_stacks, 1))
            ]
            for branch in branches:
                _initialise(branch, "hm" in name, init)
            setattr(self, name, nn.ModuleList(branches) if num_stacks else branches[0])
        self.names = tuple(channels)

    @classmethod
    def from_config(cls, cfg: Any, in_channels: int, num_stacks: int) -> dict[str, Any]:
        c = cfg.MODEL.POINTS
        return {
            "in_channels": in_channels,
            "num_classes": c.NUM_CLASSES,
            "num_joints": cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS if cfg.MODEL.KEYPOINT_ON else 0,
            "hidden": c.HEAD_CHANNELS,
            "num_stacks": num_stacks,
            "separable": c.HEAD_SEPARABLE,
            "init": c.HEAD_INIT,
        }

    def forward(self, feature: torch.Tensor, stack: int = 0) -> PointMaps:
        """
        Args:
            feature: ``(N, C, H, W)``.
            stack: number of the hourglass that it is from.
        """
        branches = (getattr(self, name) for name in self.names)
        return PointMaps(*((b[stack] if self.num_stacks else b)(feature) for b in branches))


def _branch(
    in_channels: int, hidden: int, outputs: int, separable: bool, stacked: bool
) -> nn.Sequential:
    if separable:
        first: nn.Module = separable_conv3x3(in_channels, hidden)
    else:
        first = nn.Conv2d(in_channels, hidden, 3, padding=1)
    last = nn.Conv2d(hidden, outputs, 1)
    if stacked:
        inner = nn.Sequential(OrderedDict(conv=first, relu=nn.ReLU(inplace=True)))
        return nn.Sequential(inner, last)
    return nn.Sequential(first, nn.ReLU(inplace=True), last)


def _initialise(branch: nn.Sequential, is_heatmap: bool, init: str) -> None:
    if is_heatmap:
        last: Any = branch[-1]
        nn.init.constant_(last.bias, _HEAT_BIAS)
        return
    for module in branch.modules():
        if isinstance(module, nn.Conv2d) and init != "default":
            if init == "normal":
                nn.init.normal_(module.weight, std=0.001)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
