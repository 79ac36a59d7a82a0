"""Corner pooling: running maxima over rows and columns, and maxima of whole rows and columns.

``torch.cummax`` gives the gradient of equal elements to the last of them, the published models to
the first that the scan visits; it is also several times slower here (docs/TRIPLETS.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["bottom_pool", "column_max", "left_pool", "right_pool", "row_max", "top_pool"]

_ROWS, _COLUMNS = -2, -1


def top_pool(x: torch.Tensor) -> torch.Tensor:
    """The maximum of each cell and the cells below it; ``(..., H, W)`` to the same shape."""
    return _running_max(x, _ROWS, reverse=True)


def bottom_pool(x: torch.Tensor) -> torch.Tensor:
    """The maximum of each cell and the cells above it; ``(..., H, W)`` to the same shape."""
    return _running_max(x, _ROWS, reverse=False)


def left_pool(x: torch.Tensor) -> torch.Tensor:
    """The maximum of each cell and the cells right of it; ``(..., H, W)`` to the same shape."""
    return _running_max(x, _COLUMNS, reverse=True)


def right_pool(x: torch.Tensor) -> torch.Tensor:
    """The maximum of each cell and the cells left of it; ``(..., H, W)`` to the same shape."""
    return _running_max(x, _COLUMNS, reverse=False)


def column_max(x: torch.Tensor) -> torch.Tensor:
    """Each cell gets the maximum of its column: ``bottom_pool(top_pool(x))``, faster.

    Args:
        x: ``(..., H, W)``.

    Returns:
        The same shape, expanded without memory of its own; the gradient of equal maxima goes to
        the lowest.
    """
    return _line_max(x, _ROWS)


def row_max(x: torch.Tensor) -> torch.Tensor:
    """Each cell gets the maximum of its row: ``right_pool(left_pool(x))``, faster.

    Args:
        x: ``(..., H, W)``.

    Returns:
        The same shape, expanded without memory of its own; the gradient of equal maxima goes to
        the rightmost.
    """
    return _line_max(x, _COLUMNS)


def _line_max(x: torch.Tensor, dim: int) -> torch.Tensor:
    with torch.no_grad():
        best = x.amax(dim, keepdim=True)
    if torch.is_grad_enabled() and x.requires_grad:
        # Of equal maxima, amax would give each a share of the gradient
        with torch.no_grad():
            last = ((x == best) * _places(x, dim)).amax(dim, keepdim=True).long()
        best = x.gather(dim, last)
    return best.expand_as(x)


def _running_max(x: torch.Tensor, dim: int, reverse: bool) -> torch.Tensor:
    pooled: torch.Tensor = _RunningMax.apply(x, dim, reverse)
    return pooled


class _RunningMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, dim: int, reverse: bool) -> torch.Tensor:
        pooled = _scan_max_(x.clone(memory_format=torch.contiguous_format), dim, reverse)
        if ctx.needs_input_grad[0]:
            ctx.dim = dim
            ctx.save_for_backward(_sources(pooled, dim, reverse))
        return pooled

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (sources,) = ctx.saved_tensors
        # Sums of many small numbers need more digits than half precision has
        wide = grad.to(torch.promote_types(grad.dtype, torch.float32))
        summed = torch.zeros_like(wide).scatter_add(ctx.dim, sources.long(), wide)
        return summed.to(grad.dtype), None, None


def _sources(pooled: torch.Tensor, dim: int, reverse: bool) -> torch.Tensor:
    """Where each running maximum was seen first.

    Returns:
        Indices along ``dim``, in a small integer type: they wait for the backward pass.
    """
    size = pooled.shape[dim]
    # Steps from the start of the scan; the maximum rises where an element is the source
    steps = _places(pooled, dim)
    first = torch.zeros(pooled.shape, dtype=steps.dtype, device=pooled.device)
    if size > 1:
        before, after = (0, 1) if not reverse else (1, 0)
        rises = pooled.narrow(dim, after, size - 1) > pooled.narrow(dim, before, size - 1)
        rising = first.narrow(dim, after, size - 1)
        rising.copy_(rises * (steps.flip(dim) if reverse else steps).narrow(dim, after, size - 1))
    first = _scan_max_(first, dim, reverse)
    return size - 1 - first if reverse else first


def _places(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Indices along ``dim``, of size 1 in all others, in the smallest type that holds them."""
    shape = [1] * x.dim()
    shape[dim] = size = x.shape[dim]
    small = torch.int16 if size <= torch.iinfo(torch.int16).max else torch.int32
    return torch.arange(size, dtype=small, device=x.device).view(shape)


def _scan_max_(x: torch.Tensor, dim: int, reverse: bool) -> torch.Tensor:
    """Running maxima in place: Brent and Kung's parallel scan, 2 log2(n) kernels, 2 n maxima."""
    size = x.shape[dim]
    for start, later, stride in _scan_steps(size):
        count = len(range(later, size, stride))
        if count:
            span = stride * (count - 1)
            if reverse:
                start, later = size - 1 - start - span, size - 1 - later - span
            source = x.narrow(dim, start, span + 1)
            target = x.narrow(dim, later, span + 1)
            source, target = (_strided(v, dim, stride) for v in (source, target))
            torch.maximum(source, target, out=target)
    return x


def _scan_steps(size: int) -> Iterator[tuple[int, int, int]]:
    """(first source, first target, stride of both) of each step."""
    reach = 1
    while reach < size:
        yield reach - 1, 2 * reach - 1, 2 * reach
        reach *= 2
    while reach > 1:
        reach //= 2
        yield 2 * reach - 1, 3 * reach - 1, 2 * reach


def _strided(x: torch.Tensor, dim: int, stride: int) -> torch.Tensor:
    return x[..., ::stride, :] if dim == _ROWS else x[..., ::stride]
