"""Both bidirectional pyramids, written from the description in float64 on a state dict; slow."""

from __future__ import annotations

import torch

# (level, offsets of the inputs) of each node
FIVE = [
    (3, [3, 4]), (2, [2, 5]), (1, [1, 6]), (0, [0, 7]),
    (1, [1, 7, 8]), (2, [2, 6, 9]), (3, [3, 5, 10]), (4, [4, 11]),
]  # fmt: skip
THREE = [(1, [1, 2]), (0, [0, 3]), (1, [1, 3, 4]), (2, [2, 5])]


def conv(x, weight, bias=None, groups=1):
    weight = weight.double()
    pad = weight.shape[-1] // 2
    bias = None if bias is None else bias.double()
    return torch.conv2d(x, weight, bias, padding=pad, groups=groups)


def group_norm(x, weight, bias):
    n, c = x.shape[:2]
    groups = x.reshape(n, 32, -1)
    mean = groups.mean(-1, keepdim=True)
    deviation = (groups.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    x = ((groups - mean) / deviation).reshape(x.shape)
    return x * weight.double().view(1, c, 1, 1) + bias.double().view(1, c, 1, 1)


def swish(x):
    return x / (1 + torch.exp(-x))


def pool(x, kernel, pad):
    """Greatest value of kernel x kernel windows two cells apart, padded by -inf."""
    n, c, h, w = x.shape
    rows, columns = (h + 2 * pad - kernel) // 2 + 1, (w + 2 * pad - kernel) // 2 + 1
    out = torch.empty(n, c, rows, columns, dtype=x.dtype)
    for i in range(rows):
        for j in range(columns):
            top, left = max(0, 2 * i - pad), max(0, 2 * j - pad)
            window = x[..., top : 2 * i - pad + kernel, left : 2 * j - pad + kernel]
            out[..., i, j] = window.amax((-1, -2))
    return out


def double(x, size):
    rows = [i * x.shape[2] // size[0] for i in range(size[0])]
    columns = [i * x.shape[3] // size[1] for i in range(size[1])]
    return x[:, :, rows][:, :, :, columns]


def mean_of(maps, weights):
    weights = weights.double().clamp(min=0)
    return sum(w * x for w, x in zip(weights, maps)) / (weights.sum() + 1e-4)


def flavour_a(raw, state, layers):
    """Three raw maps to five; names as in the published models with 2x2 pooling."""

    def after(x, prefix):
        return group_norm(x, state[f"{prefix}bn.weight"], state[f"{prefix}bn.bias"])

    maps = [x.double() for x in raw]
    p6 = pool(after(conv(maps[2], state["resample.3.conv.conv.weight"]), "resample.3.conv."), 2, 0)
    maps += [p6, pool(p6, 2, 0)]
    for r in range(layers):
        everything, levels = list(maps), [0, 1, 2, 3, 4]
        for n, (level, offsets) in enumerate(FIVE):
            prefix = f"cell.{r}.fnode.{n}."
            inputs = []
            for offset in offsets:
                x = everything[offset]
                name = f"{prefix}combine.resample.{offset}.conv."
                if f"{name}conv.weight" in state:
                    x = after(conv(x, state[f"{name}conv.weight"]), name)
                if levels[offset] < level:
                    x = pool(x, 2, 0)
                elif levels[offset] > level:
                    x = double(x, [2 * x.shape[2], 2 * x.shape[3]])
                inputs.append(x)
            x = swish(mean_of(inputs, state[f"{prefix}combine.edge_weights"]))
            name = f"{prefix}after_combine.conv."
            if f"{name}conv_dw.weight" in state:
                x = conv(x, state[f"{name}conv_dw.weight"], groups=x.shape[1])
                x = conv(x, state[f"{name}conv_pw.weight"])
            else:
                x = conv(x, state[f"{name}conv.weight"])
            everything.append(after(x, name))
            levels.append(level)
        maps = everything[-5:]
    return maps


def flavour_b(raw, state, layers, sixth=None):
    """Three raw maps to three, or to five with ``sixth``, the name of p6's module."""

    def after(x, prefix):
        return group_norm(x, state[f"{prefix}norm.weight"], state[f"{prefix}norm.bias"])

    maps = [x.double() for x in raw]
    if sixth:
        name = f"bottom_up.{sixth}.reduction."
        p6 = pool(after(conv(maps[2], state[f"{name}weight"]), name), 3, 1)
        maps += [p6, pool(p6, 3, 1)]
    for r in range(layers):
        everything = list(maps)
        for level, offsets in FIVE if sixth else THREE:
            prefix = f"repeated_bifpn.{r}."
            inputs = []
            for offset in offsets:
                x = everything[offset]
                name = f"{prefix}lateral_{offset}_f{level}."
                if f"{name}weight" in state:
                    x = after(conv(x, state[f"{name}weight"], state[f"{name}bias"]), name)
                size = maps[level].shape[2:]
                if x.shape[2] > size[0] or x.shape[3] > size[1]:
                    x = pool(x, 3, 1)
                elif x.shape[2:] != size:
                    x = double(x, size)
                inputs.append(x)
            name = f"f{level}_{'_'.join(map(str, offsets))}"
            x = swish(mean_of(inputs, state[f"{prefix}weights_{name}"]))
            everything.append(
                after(conv(x, state[f"{prefix}outputs_{name}.weight"]), f"{prefix}outputs_{name}.")
            )
        maps = everything[-len(maps) :]
    return maps
