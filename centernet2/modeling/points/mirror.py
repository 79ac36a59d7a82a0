"""The maps of an image and of its mirror image, averaged."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .maps import PointMaps

__all__ = ["average_with_mirrored"]


def average_with_mirrored(
    maps: PointMaps, mirrored: PointMaps, partners: Sequence[int] = ()
) -> PointMaps:
    """Average heatmaps, sizes and joints; offsets are those of the image alone, as published.

    Cell i of a row is averaged with cell W - 1 - i, wherever in it the points lie.

    Args:
        maps: of N images, ``hm`` and ``hm_hp`` as probabilities.
        mirrored: the same of their mirror images.
        partners: for pose, of each joint the one that it becomes in the mirror.
    """
    averaged = maps._replace(
        hm=(maps.hm + mirrored.hm.flip(-1)) / 2, wh=(maps.wh + mirrored.wh.flip(-1)) / 2
    )
    if maps.hps is None or maps.hm_hp is None or mirrored.hps is None or mirrored.hm_hp is None:
        return averaged
    order = torch.tensor(list(partners), device=maps.hps.device)
    shifts = mirrored.hps.flip(-1).unflatten(1, (-1, 2))[:, order]
    shifts = shifts * shifts.new_tensor([-1.0, 1.0]).view(2, 1, 1)
    return averaged._replace(
        hps=(maps.hps + shifts.flatten(1, 2)) / 2,
        hm_hp=(maps.hm_hp + mirrored.hm_hp.flip(-1)[:, order]) / 2,
    )
