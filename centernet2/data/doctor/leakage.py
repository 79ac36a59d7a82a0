"""Images that are in train and in val."""

from __future__ import annotations

import numpy as np

from centernet2.data.doctor.findings import printable
from centernet2.data.doctor.images import ImageState
from centernet2.data.doctor.tables import Dataset, image_file

__all__ = ["check_leakage"]

NEAR = 4  # of 64 bits
_BLANK = 4  # set bits; a hash with fewer, or as few clear ones, is that of a plain surface


def check_leakage(
    train: Dataset,
    train_states: dict[int, ImageState],
    val: Dataset,
    val_states: dict[int, ImageState],
) -> None:
    """Write into ``val`` which of its images are, or look like, one of ``train``."""
    train_rows = [row for row, state in train_states.items() if state.digest]
    same = {train_states[row].digest: row for row in reversed(train_rows)}
    looks = np.array([train_states[row].look for row in train_rows], np.uint64)
    spread = np.array([_is_telling(train_states[row].look) for row in train_rows], bool)
    for row, state in val_states.items():
        if not state.digest:
            continue
        if state.digest in same:
            twin, kind, detail = same[state.digest], "leak-same-file", "is"
        elif len(looks) and _is_telling(state.look):
            bits = np.unpackbits((looks ^ np.uint64(state.look)).view(np.uint8).reshape(-1, 8), 1)
            distance = np.where(spread, bits.sum(1), 64)
            nearest = int(distance.argmin())
            if distance[nearest] > NEAR:
                continue
            twin, kind = train_rows[nearest], "leak-look-alike"
            detail = f"differs in {distance[nearest]} of 64 bits from"
        else:
            continue
        name = printable(image_file(train.images.records[twin]))
        text = f"{detail} {name} of {train.file}"
        val.add(kind, val.images, row, text, twin=(train.file, name))


def _is_telling(look: int) -> bool:
    return _BLANK <= bin(look).count("1") <= 64 - _BLANK
