"""Losses of one stack: heatmaps, tags that pair corners (pull and push), and offsets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..peaks import heat_loss
from .maps import TripletMaps
from .targets import TripletTargets

__all__ = ["LossSettings", "offset_loss", "tag_losses", "triplet_losses"]

# Added to counts that divide, as published
COUNT_EPS = 1e-4


@dataclass(frozen=True)
class LossSettings:
    """Weights of the losses.

    Attributes:
        pull_weight: of the loss that brings the tags of a box's corners together.
        push_weight: of the loss that keeps the tags of different boxes apart.
        offset_weight: of the offsets.
        clamp: probabilities are clamped to [clamp, 1 - clamp] in the heatmap losses, and what is
            clamped has no gradient.
        push_diagonal: count each box as a pair with itself and subtract its share, as published.
            That leaves a constant of about 1 for an image of one box; otherwise there is none.
    """

    pull_weight: float = 0.1
    push_weight: float = 0.1
    offset_weight: float = 1.0
    clamp: float = 1e-4
    push_diagonal: bool = True


def triplet_losses(
    maps: TripletMaps, targets: TripletTargets, settings: LossSettings
) -> dict[str, torch.Tensor]:
    """Losses of one stack by name, weighted; the total is their sum, averaged over stacks.

    Args:
        maps: what the stack says.
        targets: what it should say; ``ct`` is there exactly if the maps have centres.
        settings: see :class:`LossSettings`.
    """
    parts = {
        "tl": (maps.tl_heat, maps.tl_offset, targets.tl),
        "br": (maps.br_heat, maps.br_offset, targets.br),
    }
    if maps.ct_heat is not None and maps.ct_offset is not None and targets.ct is not None:
        parts["ct"] = (maps.ct_heat, maps.ct_offset, targets.ct)

    losses = {}
    for name, (heat, offset, keypoints) in parts.items():
        losses[f"loss_{name}_heat"] = heat_loss(heat, keypoints, settings.clamp)
        at_keypoints = _at_cells(offset, targets.image, keypoints.cell)
        loss = offset_loss(at_keypoints, keypoints.offset)
        losses[f"loss_{name}_offset"] = settings.offset_weight * loss

    pull, push = tag_losses(
        _at_cells(maps.tl_tag, targets.image, targets.tl.cell).squeeze(1),
        _at_cells(maps.br_tag, targets.image, targets.br.cell).squeeze(1),
        targets,
        settings.push_diagonal,
    )
    losses["loss_pull"] = settings.pull_weight * pull
    losses["loss_push"] = settings.push_weight * push
    return losses


def tag_losses(
    tl_tag: torch.Tensor, br_tag: torch.Tensor, targets: TripletTargets, push_diagonal: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pull and push, each divided by the boxes or pairs of its image and summed over images.

    Args:
        tl_tag, br_tag: ``(N,)`` tags at the corners of the boxes.
        targets: whose image each box is in.
        push_diagonal: see :class:`LossSettings`.
    """
    mean = (tl_tag + br_tag) / 2
    counts = targets.counts.to(mean.dtype)
    spread = (tl_tag - mean).square() + (br_tag - mean).square()
    pull = (spread / (counts[targets.image] + COUNT_EPS)).sum()

    # Boxes of an image side by side; the pairs are (B, most, most)
    padded = mean.new_zeros(len(counts), targets.most)
    padded = padded.index_put((targets.image, targets.place), mean)
    exists = torch.arange(targets.most, device=mean.device) < targets.counts[:, None]
    pair = exists[:, :, None] & exists[:, None]
    near = (1 - (padded[:, :, None] - padded[:, None]).abs()).clamp(min=0)
    counts = counts[:, None, None]
    if push_diagonal:
        near = near - 1 / (counts + COUNT_EPS)
    else:
        pair = pair & ~torch.eye(targets.most, dtype=torch.bool, device=mean.device)
    push = torch.where(pair, near / (counts * (counts - 1) + COUNT_EPS), 0.0).sum()
    return pull, push


def offset_loss(predicted: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Smooth L1 distance, summed and divided by the number of boxes of the batch.

    Args:
        predicted, expected: ``(N, 2)``.
    """
    return F.smooth_l1_loss(predicted, expected, reduction="sum") / (len(expected) + COUNT_EPS)


def _at_cells(maps: torch.Tensor, image: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
    """``(N, C)`` float32 values of ``(B, C, H, W)`` maps at the cells of the keypoints."""
    return maps.flatten(2)[image, :, cell].float()
