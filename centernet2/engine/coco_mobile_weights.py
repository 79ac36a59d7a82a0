"""The weights of the model ``coco-mobile`` under the names of :class:`MobileCenterNet`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from centernet2.errors import UserError

__all__ = ["convert_coco_mobile", "published_names"]

_BACKBONE = "backbone.bottom_up."
_NECK = f"{_BACKBONE}neck."
_TOWER = "tower_0/"
_LATEST_BLOCK = 14
_SQUEEZED_BLOCKS = (3, 4, 5, 10, 11, 12, 13, 14)


def convert_coco_mobile(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, torch.Tensor]:
    """Rename and transpose the published graph's convolutions, and take the scale out of them.

    Where a normalisation was inside a convolution, the factor of each channel is the power of two
    that brings its kernel closest to a norm of sqrt(2), He's initial one. So nothing is rounded:
    weights stay in half precision where that holds them exactly.

    Args:
        arrays: constants of the graph by name: dense kernels ``(h, w, in, out)``, depth-wise ones
            ``(h, w, channels, 1)``.

    Returns:
        Weights ``(out, in, h, w)`` or ``(channels, 1, h, w)``, biases ``(out,)``, and factors
        ``(out,)`` as ``norm.weight``.

    Raises:
        UserError: a weight is missing or has another number of dimensions.
    """
    state = {}
    for name, source in _sources():
        if source not in arrays:
            raise UserError(f"the graph has no weight {source!r}: it is of another model.")
        array = arrays[source]
        if array.ndim != (4 if name.endswith(".weight") else 1):
            raise UserError(f"the weight {source!r} has the shape {array.shape}: another model.")
        if array.ndim == 4:
            depthwise = source.endswith("depthwise_weights")
            array = array.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        state[name] = torch.from_numpy(np.array(array, order="C"))
    for bias in [name for name in state if name.endswith(".norm.bias")]:
        convolution = bias[: -len(".norm.bias")]
        weight, factor = _without_scale(state[f"{convolution}.weight"])
        state[f"{convolution}.weight"], state[f"{convolution}.norm.weight"] = weight, factor
    return state


def published_names() -> set[str]:
    """Names of all weights that :func:`convert_coco_mobile` gives."""
    names = {name for name, _ in _sources()}
    return names | {n.replace("norm.bias", "norm.weight") for n in names if "norm.bias" in n}


def _without_scale(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Kernels of a norm near sqrt(2), and the powers of two that give the former ones."""
    kernels = weight.float()
    norms = kernels.flatten(1).norm(dim=1)
    exponents = torch.where(norms > 0, (norms / 2**0.5).log2().round(), 0.0)
    scaled = kernels / exponents.exp2().view(-1, 1, 1, 1)
    halves = scaled.half()
    exact = torch.equal(halves.float(), scaled)
    return halves if exact else scaled, exponents.exp2().half()


def _sources() -> Iterator[tuple[str, str]]:
    """Each name of the model with that of the graph."""
    net = "MobilenetV3/"
    yield from _folded(f"{_BACKBONE}stem", f"{net}Conv/Conv2D")
    for block in range(_LATEST_BLOCK + 1):
        ours, theirs = f"{_BACKBONE}blocks.{block}", f"{net}expanded_conv"
        if block:
            theirs += f"_{block}"
            yield from _folded(f"{ours}.expand", f"{theirs}/expand/Conv2D")
        yield from _folded(f"{ours}.depthwise", f"{theirs}/depthwise/depthwise")
        yield from _folded(f"{ours}.project", f"{theirs}/project/Conv2D")
        if block in _SQUEEZED_BLOCKS:
            for number, layer in ((1, "Conv"), (2, "Conv_1")):
                inside = f"{theirs}/squeeze_excite/{layer}"
                yield f"{ours}.squeeze.fc{number}.weight", f"{inside}/weights"
                yield f"{ours}.squeeze.fc{number}.bias", f"{inside}/biases"
    yield from _folded(f"{_BACKBONE}last", "extern1/Conv2D")
    for level in (4, 3, 2):
        head = "CenternetHead/"
        beside = f"{head}c{level}_reverse"
        yield from _folded(f"{_NECK}lateral.{level}.0", f"{beside}/1x1/Conv2D")
        yield from _separable(f"{_NECK}lateral.{level}.2", f"{beside}/3x3")
        for ours, theirs in (("small", "x"), ("large", "y")):
            branch = f"{head}c{level + 1}_upsample/branch_{theirs}_upsample_resize"
            yield from _separable(f"{_NECK}up.{level}.{ours}", branch)
    squeeze = f"{_TOWER}CenternetHead/conv1x1_se_a/Conv2D"
    yield "backbone.squeeze.fc1.weight", f"{squeeze}_weights"
    yield "backbone.squeeze.fc1.bias", f"{squeeze}_bn_offset"
    yield "backbone.squeeze.fc2.weight", "CenternetHead/conv1x1_se_b/weights"
    for ours, theirs in (("heatmap", "cls"), ("distances", "wh")):
        layer = f"CenternetHead/centernet_{theirs}_output"
        yield f"head.{ours}.0.weight", f"{layer}/depthwise_weights"
        yield f"head.{ours}.1.weight", f"{layer}/pointwise_weights"
        yield f"head.{ours}.1.bias", f"{layer}/biases"


def _folded(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    """A convolution that holds the normalisation behind it."""
    yield f"{ours}.weight", f"{_TOWER}{theirs}_weights"
    yield f"{ours}.norm.bias", f"{_TOWER}{theirs}_bn_offset"


def _separable(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    yield f"{ours}.0.weight", f"{theirs}/depthwise_weights"
    yield from _folded(f"{ours}.1", f"{theirs}/separable_conv2d")
