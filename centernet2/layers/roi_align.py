"""RoIAlign on the CPU as sums of weighted rows, which run over all channels at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

__all__ = ["pyramid_roi_align"]


def pyramid_roi_align(
    maps: Sequence[torch.Tensor],
    scales: Sequence[float],
    boxes: torch.Tensor,
    image: torch.Tensor,
    level: torch.Tensor,
    output_size: tuple[int, int],
    sampling_ratio: int = 0,
) -> torch.Tensor:
    """RoIAlign (aligned) of boxes, each on its own level of a pyramid.

    The same numbers as :func:`torchvision.ops.roi_align` up to rounding, whose CPU kernel goes
    through the maps channel by channel. Here each bin is a weighted sum of cells, and a cell's
    channels lie side by side: an embedding bag.

    Args:
        maps: ``(B, C, H_l, W_l)`` of each level; fastest in channels-last memory.
        scales: cells per pixel of each level.
        boxes: ``(N, 4)`` XYXY in pixels.
        image: ``(N,)`` int64 image of each box.
        level: ``(N,)`` int64 level of each box.
        output_size: bins (down, across).
        sampling_ratio: samples a bin in each direction; 0: as many as it has cells, rounded up.

    Returns:
        ``(N, C, *output_size)``, in channels-last memory.
    """
    rows = torch.cat([m.permute(0, 2, 3, 1).flatten(0, 2) for m in maps])
    extent = torch.tensor([m.shape[2:] for m in maps])[level]  # (N, 2), rows and columns
    starts = torch.tensor([0, *(m[:, 0].numel() for m in maps)]).cumsum(0)
    first = starts[level] + image * extent.prod(dim=1)

    corners = boxes * torch.tensor(scales, dtype=boxes.dtype)[level, None] - 0.5
    low = corners[:, :2].flip(1)  # (y, x), as all that follows
    step = (corners[:, 2:] - corners[:, :2]).flip(1) / torch.tensor(output_size)
    samples = step.ceil().clamp(min=0)  # none in an empty box, which then pools 0
    if sampling_ratio > 0:
        samples = torch.full_like(samples, sampling_ratio)

    pooled = rows.new_empty(len(boxes), *output_size, rows.shape[1])
    # Boxes of about as many samples go together
    rounded = samples.clamp(min=1).log2().ceil().exp2()
    for most in torch.unique(rounded, dim=0):
        which = (rounded == most).all(dim=1).nonzero()[:, 0]
        along = low[which], step[which], samples[which], extent[which]
        (row, down), (column, across) = (
            _cells([values[:, axis] for values in along], int(most[axis]), bins)
            for axis, bins in enumerate(output_size)
        )
        line = first[which, None, None] + row * extent[which, 1, None, None]
        cell = line[:, :, None, :, None] + column[:, None, :, None, :]
        weight = down[:, :, None, :, None] * across[:, None, :, None, :]
        sums = F.embedding_bag(
            cell.flatten(0, 2).flatten(1),
            rows,
            mode="sum",
            per_sample_weights=weight.flatten(0, 2).flatten(1).to(rows.dtype),
        )
        pooled[which] = sums.view(-1, *output_size, rows.shape[1])
    return pooled.permute(0, 3, 1, 2)


def _cells(
    boxes: Sequence[torch.Tensor], most: int, bins: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The cells along one axis that make up each bin, with their weights.

    Args:
        boxes: ``(N,)`` each: where the boxes start and the size of their bins, in cells; samples a
            bin; cells of the map.
        most: largest number of samples.
        bins: number of bins.

    Returns:
        ``(N, bins, 2 * most)`` cells and weights.
    """
    low, step, samples, extent = (values[:, None, None] for values in boxes)
    i, count = torch.arange(most), samples.clamp(min=1)
    at = low + torch.arange(bins)[:, None] * step + (i + 0.5) * (step / count)
    # Samples further out than a cell count as 0, nearer ones are moved to the border
    real = (i < samples) & (at >= -1) & (at <= extent)
    at = at.clamp(min=0).minimum((extent - 1).to(at.dtype))
    before = at.floor()
    after = before + 1 - at
    cells = torch.stack([before.long(), (before.long() + 1).minimum(extent - 1)], dim=-1)
    weights = torch.stack([after, 1 - after], dim=-1) * (real / count)[..., None]
    return cells.flatten(2), weights.flatten(2)
