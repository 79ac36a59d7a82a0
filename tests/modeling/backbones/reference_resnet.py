"""ResNet, ResNeXt and Res2Net with deformable stages, computed from a state dict in float64.

Written from the description of the published models alone: plain functions, no modules; deformable
convolutions are the loops of ``tests/layers/reference_deform.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ...layers import reference_deform

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Layout:
    """What a state dict does not tell."""

    groups: int = 1
    stride_in_1x1: bool = True
    dilation: int = 1  # of the last stage
    modulated: bool = True


def resnet(state: State, image: torch.Tensor, layout: Layout) -> dict[str, torch.Tensor]:
    x = F.conv2d(image, state["stem.conv1.weight"], stride=2, padding=3)
    x = F.relu(normalise(state, "stem.conv1.norm", x))
    return stages(state, F.max_pool2d(x, 3, 2, 1), layout, bottleneck)


def res2net(state: State, image: torch.Tensor, layout: Layout) -> dict[str, torch.Tensor]:
    x = F.conv2d(image, state["stem.conv1.0.weight"], stride=2, padding=1)
    x = F.relu(normalise(state, "stem.conv1.1", x))
    x = F.conv2d(x, state["stem.conv1.3.weight"], padding=1)
    x = F.relu(normalise(state, "stem.conv1.4", x))
    x = F.conv2d(x, state["stem.conv1.6.weight"], padding=1)
    x = F.relu(normalise(state, "stem.bn1", x))
    return stages(state, F.max_pool2d(x, 3, 2, 1), layout, res2net_block)


def stages(state, x, layout, block):
    outputs = {}
    for stage in ("res2", "res3", "res4", "res5"):
        count = len({name.split(".")[1] for name in state if name.startswith(stage)})
        dilation = layout.dilation if stage == "res5" else 1
        for i in range(count):
            stride = 2 if i == 0 and stage != "res2" and dilation == 1 else 1
            own = {k: v for k, v in state.items() if k.startswith(f"{stage}.{i}.")}
            own = {k.split(".", 2)[2]: v for k, v in own.items()}
            strides = (stride, 1) if layout.stride_in_1x1 else (1, stride)
            x = block(own, x, stride, *strides, dilation, layout)
        outputs[stage] = x
    return outputs


def bottleneck(state, x, stride, stride_1x1, stride_3x3, dilation, layout):
    y = F.conv2d(x, state["conv1.weight"], stride=stride_1x1)
    y = F.relu(normalise(state, "conv1.norm", y))
    if "conv2_offset.weight" in state:
        prediction = F.conv2d(
            y,
            state["conv2_offset.weight"],
            state["conv2_offset.bias"],
            stride=stride_3x3,
            padding=dilation,
            dilation=dilation,
        )
        y = deform(y, prediction, state["conv2.weight"], stride_3x3, dilation, layout.modulated)
    else:
        y = plain(y, state["conv2.weight"], stride_3x3, dilation, layout.groups)
    y = F.relu(normalise(state, "conv2.norm", y))
    y = normalise(state, "conv3.norm", F.conv2d(y, state["conv3.weight"]))
    if "shortcut.weight" in state:
        x = F.conv2d(x, state["shortcut.weight"], stride=stride)
        x = normalise(state, "shortcut.norm", x)
    return F.relu(y + x)


def res2net_block(state, x, stride, stride_1x1, stride_3x3, dilation, layout):
    changes_channels = "shortcut.1.weight" in state
    y = F.conv2d(x, state["conv1.weight"], stride=stride_1x1)
    y = F.relu(normalise(state, "conv1.norm", y))
    width = y.shape[1] // 4
    c = [y[:, i * width : (i + 1) * width] for i in range(4)]
    results = []
    for i in range(3):
        z = c[i] if i == 0 or changes_channels else results[i - 1] + c[i]
        weight = state[f"convs.{i}.weight"]
        if f"conv2_offsets.{i}.weight" in state:
            offsets = state[f"conv2_offsets.{i}.weight"]
            prediction = plain(z, offsets, stride_3x3, dilation, 1)
            z = deform(z, prediction, weight, stride_3x3, dilation, layout.modulated)
        else:
            z = plain(z, weight, stride_3x3, dilation, layout.groups)
        results.append(F.relu(normalise(state, f"bns.{i}", z)))
    last = c[3] if stride_3x3 == 1 else F.avg_pool2d(c[3], 3, stride_3x3, padding=1)
    y = F.conv2d(torch.cat([*results, last], dim=1), state["conv3.weight"])
    y = normalise(state, "conv3.norm", y)
    if changes_channels:
        x = F.conv2d(mean_pool(x, stride), state["shortcut.1.weight"])
        x = normalise(state, "shortcut.1.norm", x)
    return F.relu(y + x)


def mean_pool(x, size):
    """Mean over size x size cells; those at the edge over as many pixels as they have."""
    rows = [x[:, :, i : i + size].mean(2, keepdim=True) for i in range(0, x.shape[2], size)]
    x = torch.cat(rows, dim=2)
    columns = [x[..., i : i + size].mean(3, keepdim=True) for i in range(0, x.shape[3], size)]
    return torch.cat(columns, dim=3)


def plain(x, weight, stride, dilation, groups):
    return F.conv2d(x, weight, stride=stride, padding=dilation, dilation=dilation, groups=groups)


def deform(x, prediction, weight, stride, dilation, modulated):
    """The offsets are the first two thirds; the mask is the sigmoid of the last."""
    images = []
    for image, own in zip(x.numpy(), prediction):
        offsets, mask = own, None
        if modulated:
            third = own.shape[0] // 3
            offsets, mask = own[: 2 * third], torch.sigmoid(own[2 * third :]).numpy()
        result = reference_deform.deform_conv(
            image,
            offsets.numpy(),
            weight.numpy(),
            mask,
            stride=stride,
            padding=dilation,
            dilation=dilation,
        )
        images.append(torch.from_numpy(result))
    return torch.stack(images)


def normalise(state, name, x):
    mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    shape = (1, -1, 1, 1)
    x = (x - mean.view(shape)) / torch.sqrt(variance + 1e-5).view(shape)
    return x * weight.view(shape) + bias.view(shape)
