"""Losses of one stack: heatmaps, sizes, offsets, and joints."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..peaks import heat_loss
from .maps import PointMaps
from .targets import PointTargets

__all__ = ["LossSettings", "l1_loss", "point_losses"]

# Added to counts that divide, as published
COUNT_EPS = 1e-4


@dataclass(frozen=True)
class LossSettings:
    """Weights of the losses; the fields are named after the maps.

    Attributes:
        clamp: see :func:`..peaks.heat_loss`.
    """

    hm: float = 1.0
    wh: float = 0.1
    reg: float = 1.0
    hps: float = 1.0
    hm_hp: float = 1.0
    hp_offset: float = 1.0
    clamp: float = 1e-4


def point_losses(
    maps: PointMaps, targets: PointTargets, settings: LossSettings
) -> dict[str, torch.Tensor]:
    """Losses of one stack by name, weighted; the total is their sum, averaged over stacks.

    Args:
        maps: what the stack says.
        targets: what it should say; with joints exactly if the maps have them.
        settings: see :class:`LossSettings`.
    """
    learnt = targets.regressed.nonzero()[:, 0]
    image, cell = targets.image[learnt], targets.centers.cell[learnt]
    losses = {
        "hm": heat_loss(maps.hm, targets.centers, settings.clamp),
        "wh": l1_loss(_at(maps.wh, image, cell), targets.size[learnt]),
        "reg": l1_loss(_at(maps.reg, image, cell), targets.centers.offset[learnt]),
    }
    joints = targets.joints
    if joints is not None and maps.hps is not None:
        assert maps.hm_hp is not None and maps.hp_offset is not None
        shifts = maps.hps.unflatten(1, (-1, 2)).flatten(3)
        losses["hps"] = l1_loss(
            shifts[joints.image, joints.joint, :, joints.center].float(), joints.shift
        )
        losses["hm_hp"] = heat_loss(maps.hm_hp, joints.points, settings.clamp)
        losses["hp_offset"] = l1_loss(
            _at(maps.hp_offset, joints.image, joints.points.cell), joints.points.offset
        )
    return {f"loss_{name}": getattr(settings, name) * loss for name, loss in losses.items()}


def l1_loss(predicted: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Mean distance of coordinates, as published: the paper divides by rows, not coordinates.

    Args:
        predicted, expected: ``(N, 2)``; 0 for none of them.
    """
    return (predicted - expected).abs().sum() / (expected.numel() + COUNT_EPS)


def _at(maps: torch.Tensor, image: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
    """``(N, C)`` float32 values of ``(B, C, H, W)`` maps at cells of images."""
    return maps.flatten(2)[image, :, cell].float()
