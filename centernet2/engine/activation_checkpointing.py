"""Less memory for more computing: activations of blocks are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

__all__ = ["checkpoint_activations"]


def checkpoint_activations(model: nn.Module) -> int:
    """Change a model, in place, to keep only the inputs of its blocks for the backward pass.

    Blocks are those of the networks' stages (whatever stands in an ``nn.Sequential`` and has two
    convolutions or more) and towers of heads (an ``nn.Sequential`` of two convolutions or more).
    Results, gradients, names of parameters and statistics of batch normalisation stay the same.
    Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost.

    Args:
        model: in full; blocks without trained parameters are left alone.

    Returns:
        How many blocks were changed.
    """
    blocks = [block for block in _blocks(model) if any(p.requires_grad for p in block.parameters())]
    for block in blocks:
        contexts = partial(_contexts, block)
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, context_fn=contexts)
    return len(blocks)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if _is_block(child, inside=module):
            yield child
        else:
            yield from _blocks(child)


def _is_block(module: nn.Module, inside: nn.Module) -> bool:
    # Not classes derived from Sequential: their forward may do more, with heads even the losses
    if type(module) is nn.Sequential:
        return sum(isinstance(layer, nn.Conv2d) for layer in module) >= 2
    return type(inside) is nn.Sequential and _convolutions(module) >= 2


def _convolutions(module: nn.Module) -> int:
    return sum(isinstance(m, nn.Conv2d) for m in module.modules())


def _contexts(block: nn.Module) -> tuple[Any, Any]:
    return nullcontext(), _second_pass(block)


@contextmanager
def _second_pass(block: nn.Module) -> Iterator[None]:
    """Batch normalisation has seen this batch already: its running statistics stand still."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    counts = [norm.num_batches_tracked for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts):
            norm.momentum, norm.num_batches_tracked = momentum, count
