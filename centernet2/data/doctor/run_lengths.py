"""Many run-length masks at once: checked before any decoder in C may trip over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["MaskShapes", "decode_strings", "measure_runs"]

_LONGEST = 7  # characters of one number: 35 bits


@dataclass
class MaskShapes:
    """What N run-length masks look like.

    Attributes:
        total: (N,) pixels that the runs cover.
        area: (N,) pixels of the mask.
        box: (N, 4) x, y, width, height around the mask, NaN where it is empty.
        negative: (N,) whether a run is of negative length.
    """

    total: np.ndarray
    area: np.ndarray
    box: np.ndarray
    negative: np.ndarray


def decode_strings(strings: list[bytes]) -> list[np.ndarray | None]:
    """The run lengths of COCO's compressed RLE strings.

    Each number is written in groups of 5 bits, lowest first, in characters from ``0``; from the
    fourth on, a number is the difference to the one two before it.

    Returns:
        (runs,) int64 of each string, or ``None`` where it is no such string.
    """
    result: list[np.ndarray | None] = [None] * len(strings)
    whole = [i for i, string in enumerate(strings) if _is_whole(string)]
    if not whole:
        return result
    lengths = np.array([len(strings[i]) for i in whole])
    digits = np.frombuffer(b"".join(strings[i] for i in whole), np.uint8).astype(np.int64) - 48
    last = (digits & 32) == 0  # of its number
    ends = np.flatnonzero(last)
    starts = np.r_[0, ends[:-1] + 1]
    place = np.arange(len(digits)) - np.repeat(starts, ends - starts + 1)
    fits = np.minimum(place, _LONGEST)
    values = np.add.reduceat((digits & 31) << (5 * fits), starts)
    values -= np.where(digits[ends] & 16, 1 << (5 * (fits[ends] + 1)), 0)
    string_of = np.repeat(np.arange(len(whole)), lengths)[ends]
    first = np.searchsorted(string_of, np.arange(len(whole)))
    long = np.zeros(len(whole), bool)
    long[string_of[place[ends] >= _LONGEST]] = True
    at = np.arange(len(values)) - first[string_of]
    # Number 0 stands alone; 1, 3, ... and 2, 4, ... are two chains of differences.
    odd = at % 2 == 1
    chains = [_running_sum(np.where(of, values, 0), first) for of in (odd, ~odd & (at > 0))]
    runs = np.where(odd, chains[0], np.where(at > 0, chains[1], values))
    for i, piece, too_long in zip(whole, np.split(runs, first[1:]), long):
        if not too_long:
            result[i] = piece
    return result


def measure_runs(runs: list[np.ndarray], heights: np.ndarray) -> MaskShapes:
    """Area and box of run-length masks, whose runs go down the columns, background first.

    Args:
        runs: (runs,) int64 of each of N masks; none is empty.
        heights: (N,) of the images, above 0.
    """
    count = len(runs)
    box = np.full((count, 4), np.nan)
    if not count:
        zeros = np.zeros(0, np.int64)
        return MaskShapes(zeros, zeros, box, zeros.astype(bool))
    lengths = np.array([len(run) for run in runs])
    flat = np.concatenate(runs)
    starts = np.r_[0, np.cumsum(lengths)[:-1]]
    total = np.add.reduceat(flat, starts)
    negative = np.minimum.reduceat(flat, starts) < 0
    inside = (np.arange(len(flat)) - np.repeat(starts, lengths)) % 2 == 1
    area = np.add.reduceat(np.where(inside, flat, 0), starts)
    ends = _running_sum(flat, starts)
    keep = np.flatnonzero(inside & (flat > 0))
    of = np.repeat(np.arange(count), lengths)[keep]
    if len(keep):
        height = heights[of]
        begin, end = ends[keep] - flat[keep], ends[keep] - 1
        split = begin // height != end // height  # a run that goes on in the next column
        top = np.where(split, 0, begin % height)
        bottom = np.where(split, height - 1, end % height)
        masks, at = np.unique(of, return_index=True)
        left = np.minimum.reduceat(begin // height, at)
        right = np.maximum.reduceat(end // height, at)
        top, bottom = np.minimum.reduceat(top, at), np.maximum.reduceat(bottom, at)
        box[masks] = np.stack([left, top, right - left + 1, bottom - top + 1], 1)
    return MaskShapes(total, area, box, negative)


def _running_sum(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Cumulative sum that begins anew at each of ``starts``, which begin with 0 and increase."""
    sums = np.cumsum(values)
    lengths = np.diff(np.r_[starts, len(values)])
    return sums - np.repeat(sums[starts] - values[starts], lengths)


def _is_whole(string: Any) -> bool:
    # every character is one of the 64, and the last one ends its number
    return bool(string) and min(string) >= 48 and max(string) < 112 and string[-1] - 48 < 32
