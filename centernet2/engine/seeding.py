"""Random numbers that depend on names (seed, iteration, sample), never on history."""

from __future__ import annotations

import random

import numpy as np
import torch

__all__ = ["derive_seed", "seed_generators"]


def derive_seed(*parts: int) -> int:
    """Mix non-negative integers into one 32-bit seed."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def seed_generators(seed: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch (all devices).

    Args:
        seed: 0 <= seed < 2**32.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (Detectron2's augmentations use the global generator)
    torch.manual_seed(seed)
