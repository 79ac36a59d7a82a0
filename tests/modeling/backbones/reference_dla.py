"""DLA and its up-sampling, written from the description in float64 on a state dict; slow."""

from __future__ import annotations

import torch
import torch.nn.functional as F


class Weights:
    """A state dict seen below a prefix."""

    def __init__(self, state, prefix=""):
        self.state, self.prefix = state, prefix

    def __getitem__(self, name):
        return self.state[self.prefix + name].double()

    def below(self, name):
        return Weights(self.state, f"{self.prefix}{name}.")

    def has(self, name):
        return self.prefix + name in self.state


def batch_norm(x, w):
    shape = (1, -1, 1, 1)
    x = (x - w["running_mean"].view(shape)) / (w["running_var"].view(shape) + 1e-5).sqrt()
    return x * w["weight"].view(shape) + w["bias"].view(shape)


def stem(x, w, stride, padding):
    return batch_norm(F.conv2d(x, w["0.weight"], None, stride, padding), w.below("1")).clamp(min=0)


def block(x, r, w, stride):
    if w.has("conv3.weight"):  # DLA-60
        y = batch_norm(F.conv2d(x, w["conv1.weight"]), w.below("bn1")).clamp(min=0)
        y = batch_norm(F.conv2d(y, w["conv2.weight"], None, stride, 1), w.below("bn2")).clamp(min=0)
        return (batch_norm(F.conv2d(y, w["conv3.weight"]), w.below("bn3")) + r).clamp(min=0)
    y = batch_norm(F.conv2d(x, w["conv1.weight"], None, stride, 1), w.below("bn1")).clamp(min=0)
    return (batch_norm(F.conv2d(y, w["conv2.weight"], None, 1, 1), w.below("bn2")) + r).clamp(min=0)


def halve(x):
    """Greatest of each 2x2 square."""
    return torch.maximum(
        torch.maximum(x[..., ::2, ::2], x[..., 1::2, ::2]),
        torch.maximum(x[..., ::2, 1::2], x[..., 1::2, 1::2]),
    )


def unit(x, w, stride, extra):
    b = halve(x) if stride == 2 else x
    r = b
    if w.has("project.0.weight"):
        r = batch_norm(F.conv2d(b, w["project.0.weight"]), w.below("project.1"))
    x1 = block(x, r, w.below("tree1"), stride)
    x2 = block(x1, x1, w.below("tree2"), 1)
    joined = F.conv2d(torch.cat([x2, x1, *extra], 1), w["root.conv.weight"])
    return batch_norm(joined, w.below("root.bn")).clamp(min=0)


def two_units(x, w):
    b = halve(x)
    a = unit(x, w.below("tree1"), 2, [])
    return unit(a, w.below("tree2"), 1, [b, a])


def four_units(x, w):
    """A stage of depth 3, as in DLA-60: each half aggregates its own two units."""
    b = halve(x)
    first = w.below("tree1")
    a1 = unit(x, first.below("tree1"), 2, [])
    a = unit(a1, first.below("tree2"), 1, [a1])
    second = w.below("tree2")
    c = unit(a, second.below("tree1"), 1, [])
    return unit(c, second.below("tree2"), 1, [b, a, c])


def dla(x, state, prefix="", layers=34):
    w = Weights(state, prefix)
    x = stem(x.double(), w.below("base_layer"), 1, 3)
    maps = [stem(x, w.below("level0"), 1, 1)]
    maps.append(stem(maps[-1], w.below("level1"), 2, 1))
    maps.append(unit(maps[-1], w.below("level2"), 2, []))
    maps.append(two_units(maps[-1], w.below("level3")))
    deep = two_units if layers == 34 else four_units
    maps.append(deep(maps[-1], w.below("level4")))
    maps.append(unit(maps[-1], w.below("level5"), 2, [halve(maps[-1])]))
    return maps


def sample(image, y, x):
    """Bilinear value of a ``(C, H, W)`` image at positions ``(H', W')``; zero outside."""
    height, width = image.shape[1:]
    top, left = y.floor(), x.floor()
    value = torch.zeros(image.shape[0], *y.shape, dtype=image.dtype)
    for dy in (0, 1):
        for dx in (0, 1):
            row, column = top + dy, left + dx
            share = (1 - (y - row).abs()) * (1 - (x - column).abs())
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            row, column = row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long()
            value += image[:, row, column] * (share * inside)
    return value


def deform_conv(x, w):
    prediction = F.conv2d(x, w["offset.weight"], w["offset.bias"], 1, 1)
    weight = w["conv.weight"]
    rows = torch.arange(x.shape[2], dtype=x.dtype)[:, None].expand(x.shape[2:])
    columns = torch.arange(x.shape[3], dtype=x.dtype)[None].expand(x.shape[2:])
    results = []
    for image, predicted in zip(x, prediction):
        total = w["conv.bias"].view(-1, 1, 1).expand(-1, *x.shape[2:]).clone()
        for tap in range(9):
            y = rows + tap // 3 - 1 + predicted[2 * tap]
            z = columns + tap % 3 - 1 + predicted[2 * tap + 1]
            value = sample(image, y, z) * torch.sigmoid(predicted[18 + tap])
            total += torch.einsum("oc,chw->ohw", weight[:, :, tap // 3, tap % 3], value)
        results.append(total)
    return torch.stack(results)


def node(x, w):
    if w.has("conv.0.weight"):  # the 1x1 kind
        x = F.conv2d(x, w["conv.0.weight"])
        return batch_norm(x, w.below("conv.1")).clamp(min=0)
    return batch_norm(deform_conv(x, w), w.below("actf.0")).clamp(min=0)


def upsample(x, weight, factor):
    """Each channel spread by its own kernel, one input cell at a time."""
    n, c, height, width = x.shape
    size, pad = 2 * factor, factor // 2
    out = torch.zeros(
        n, c, (height - 1) * factor + size, (width - 1) * factor + size, dtype=x.dtype
    )
    for i in range(height):
        for j in range(width):
            spread = x[:, :, i, j, None, None] * weight[None, :, 0]
            out[:, :, i * factor : i * factor + size, j * factor : j * factor + size] += spread
    return out[:, :, pad : pad + height * factor, pad : pad + width * factor]


def ida(maps, w, factors):
    maps = list(maps)
    for i in range(1, len(maps)):
        projected = node(maps[i], w.below(f"proj_{i}"))
        up = upsample(projected, w[f"up_{i}.weight"], factors[i - 1])
        maps[i] = node(up + maps[i - 1], w.below(f"node_{i}"))
    return maps


def dla_up(maps, w):
    t = list(maps)
    last = len(t) - 1
    results = [t[last]]
    for k in range(last):
        first = last - 1 - k
        t[first:] = ida(t[first:], w.below(f"ida_{k}"), [2] * (k + 1))
        results = [t[last], *results]
    return results


def stride_4(x, state):
    w = Weights(state)
    u = dla_up(dla(x, state, "base.")[2:], w.below("dla_up"))
    return ida(u[:3], w.below("ida_up"), [2, 4])[-1]
