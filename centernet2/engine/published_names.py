"""Names of published checkpoints whose models have no parts, as those of our models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["adopt_names"]

# A weight of every file of keypoint triplets (CenterNet of 2019), CornerNet and Objects as Points
# with hourglasses; of Objects as Points with DLA; of the same with a ResNet, and of torchvision's
_LANDMARKS = ("pre.0.conv.weight", "base.base_layer.0.weight", "layer1.0.conv1.weight")
_PARTS = ("backbone.", "heads.", "head.")
_COUNTER, _MEAN = "num_batches_tracked", "running_mean"
# What predicts the offsets of a deformable convolution, inside of it there and beside it here
_INNER_OFFSET = ".conv_offset_mask."


def adopt_names(weights: dict[str, Any], state: Mapping[str, torch.Tensor]) -> None:
    """Put the model's parts in front of the names of a published file, in place.

    Deformable convolutions of Objects as Points get the names of
    :class:`centernet2.layers.ModulatedDeformConv`.

    PyTorch before 0.4.1 did not count the batches of a normalisation; where the file is so old the
    counters are set to 0, as nothing reads them.

    Args:
        weights: of a file, arrays or tensors by name; other files stay as they are.
        state: of the model.
    """
    if not any(name in weights and f"backbone.{name}" in state for name in _LANDMARKS):
        return
    _rename_deformable(weights)
    for name in list(weights):
        ours = [part + name for part in _PARTS if part + name in state]
        if name not in state and ours:
            weights[ours[0]] = weights.pop(name)
    for name, value in state.items():
        counts = name.endswith(_COUNTER) and name[: -len(_COUNTER)] + _MEAN in weights
        if counts and name not in weights:
            weights[name] = torch.zeros_like(value, device="cpu")


def _rename_deformable(weights: dict[str, Any]) -> None:
    for name in [n for n in weights if _INNER_OFFSET in n]:
        layer, _, kind = name.partition(_INNER_OFFSET)
        weights[f"{layer.removesuffix('.conv')}.offset.{kind}"] = weights.pop(name)
        if not layer.endswith(".conv") and f"{layer}.{kind}" in weights:
            weights[f"{layer}.conv.{kind}"] = weights.pop(f"{layer}.{kind}")
