"""Weights of images for samplers that draw with replacement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

__all__ = ["class_aware_weights", "data_set_weights"]


def class_aware_weights(records: Sequence[dict[str, Any]]) -> torch.Tensor:
    """Weights that let every class be drawn as often, however many images it has.

    An image weighs the sum of 1 / (images of c) over the distinct classes c of its annotations,
    crowds included; so each class contributes 1 in all. An image without annotations weighs 0.

    Args:
        records: Detectron2 data set dicts.

    Returns:
        (images,) float64.
    """
    classes = [
        {annotation["category_id"] for annotation in record.get("annotations", ())}
        for record in records
    ]
    images = Counter(label for present in classes for label in present)
    weights = [sum(1 / images[label] for label in sorted(present)) for present in classes]
    return torch.tensor(weights, dtype=torch.float64)


def data_set_weights(sizes: Sequence[int], ratio: Sequence[float]) -> list[torch.Tensor]:
    """Weights that draw data sets in the proportion ``ratio``, whatever their sizes.

    Args:
        sizes: images of each data set.
        ratio: share of each data set, on any scale.

    Returns:
        For each data set, (images,) float64: the same weight for all of its images.
    """
    return [
        torch.full((size,), max(sizes) / size * share / sum(ratio), dtype=torch.float64)
        for size, share in zip(sizes, ratio)
    ]
