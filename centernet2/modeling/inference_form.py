"""A trained model in the form that runs fastest and gives the same."""

from __future__ import annotations

import functools
from typing import Any

import torch
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads.box_head import FastRCNNConvFCHead
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = ["to_inference_form"]


def to_inference_form(model: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Change a model, in place, for inference only; its results stay the same up to rounding.

    Batch normalisation goes into the weights of the convolution before it: where Detectron2's
    ``Conv2d`` holds its ``norm``, and where one follows the other in an ``nn.Sequential``. On a
    CPU the maps are kept channels-last, as its convolutions and :class:`Pooler` like them, and the
    first fully-connected layer of a box head is a convolution as large as its input. The model can
    be neither trained nor loaded into afterwards.

    Args:
        model: with its weights; is switched to ``eval``.
        dtype: of convolutions and matrix products; less than float32 runs under autocast.

    Returns:
        The same model.
    """
    model.eval()
    on_cpu = next(model.parameters()).device.type == "cpu"
    for module in list(model.modules()):
        norm = getattr(module, "norm", None)
        if isinstance(module, nn.Conv2d) and _is_fixed(norm):
            _fuse(module, norm)
            module.norm = None  # type: ignore[assignment]
        elif isinstance(module, nn.Sequential):
            children = list(module.named_children())
            for (_, conv), (name, after) in zip(children, children[1:]):
                plain = type(conv) is nn.Conv2d or getattr(conv, "norm", 0) is None
                if isinstance(conv, nn.Conv2d) and plain and _is_fixed(after):
                    _fuse(conv, after)
                    setattr(module, name, nn.Identity())
        pooler = getattr(module, "box_pooler", None)
        if on_cpu and isinstance(pooler, ROIPooler):
            for head in module.modules():
                if isinstance(head, FastRCNNConvFCHead):
                    _convolve_first_layer(head, pooler.output_size)
    if on_cpu:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if dtype != torch.float32:
        device = next(model.parameters()).device.type
        for name in ("forward", "inference"):  # test-time augmentation calls the latter
            if hasattr(model, name):
                setattr(model, name, _under_autocast(getattr(model, name), device, dtype))
    return model


def _under_autocast(function: Any, device: str, dtype: torch.dtype) -> Any:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        # A context of its own for each call: calls are nested, and come from several threads
        with torch.autocast(device, dtype):
            return function(*args, **kwargs)

    return run


def _is_fixed(norm: Any) -> bool:
    """Whether it is a batch normalisation that does not look at the batch."""
    if isinstance(norm, FrozenBatchNorm2d):
        return True
    return isinstance(norm, _BatchNorm) and norm.running_mean is not None


def _convolve_first_layer(head: FastRCNNConvFCHead, window: tuple[int, int]) -> None:
    """The same sums as a convolution: it takes the maps as they lie, and oneDNN computes it."""
    linear = getattr(head, "fc1", None)
    if not isinstance(linear, nn.Linear) or not isinstance(head.flatten, nn.Flatten):
        return
    channels = linear.in_features // (window[0] * window[1])
    conv = nn.Conv2d(channels, linear.out_features, window)
    conv.weight = nn.Parameter(linear.weight.detach().view_as(conv.weight), requires_grad=False)
    conv.bias = nn.Parameter(linear.bias.detach(), requires_grad=False)
    head.flatten, head.fc1 = conv, nn.Flatten()


def _fuse(conv: nn.Conv2d, norm: Any) -> None:
    weight, bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    conv.weight = nn.Parameter(weight.detach(), requires_grad=False)
    conv.bias = nn.Parameter(bias.detach(), requires_grad=False)
