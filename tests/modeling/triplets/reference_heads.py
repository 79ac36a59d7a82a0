"""The heads as functions of a state dict, after their description, with loops for the poolings."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def top(x):
    return torch.stack([x[..., i:, :].amax(-2) for i in range(x.shape[-2])], dim=-2)


def bottom(x):
    return torch.stack([x[..., : i + 1, :].amax(-2) for i in range(x.shape[-2])], dim=-2)


def left(x):
    return top(x.transpose(-1, -2)).transpose(-1, -2)


def right(x):
    return bottom(x.transpose(-1, -2)).transpose(-1, -2)


def conv(state, name, x):
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


def norm(state, name, x):
    mean, var, weight, bias = (
        state[f"{name}.{part}"][:, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5) ** 0.5 * weight + bias


def cbr(state, name, x):
    return norm(state, f"{name}.bn", conv(state, f"{name}.conv", x)).clamp(min=0)


def corner_pooling(state, name, x, p, q):
    return p(cbr(state, f"{name}.p1_conv1", x)) + q(cbr(state, f"{name}.p2_conv1", x))


def cascade_corner_pooling(state, name, x, p, q):
    a = cbr(state, f"{name}.p1_conv1", x) + q(cbr(state, f"{name}.look_conv1", x))
    b = cbr(state, f"{name}.p2_conv1", x) + p(cbr(state, f"{name}.look_conv2", x))
    return p(conv(state, f"{name}.P1_look_conv", a)) + q(conv(state, f"{name}.P2_look_conv", b))


def center_pooling(state, name, x):
    column = bottom(top(cbr(state, f"{name}.p1_conv1", x)))
    return column + right(left(cbr(state, f"{name}.p2_conv1", x)))


def no_pooling(state, name, x):
    return cbr(state, f"{name}.p1_conv1", x) + cbr(state, f"{name}.p2_conv1", x)


def branch(state, name, x, pooled):
    u = norm(state, f"{name}.p_bn1", conv(state, f"{name}.p_conv1", pooled))
    v = norm(state, f"{name}.bn1", conv(state, f"{name}.conv1", x))
    return cbr(state, f"{name}.conv2", (u + v).clamp(min=0))


def output(state, name, x):
    return conv(state, f"{name}.1", conv(state, f"{name}.0.conv", x).clamp(min=0))


def heads(state, stack, x, corners, centre):
    """The maps by name; ``centre`` None: corners alone."""
    found = {}
    for kind, p, q in (("tl", top, left), ("br", bottom, right)):
        name = f"{kind}_cnvs.{stack}"
        feature = branch(state, name, x, corners(state, name, x, p, q))
        found[f"{kind}_heat"] = output(state, f"{kind}_heats.{stack}", feature)
        found[f"{kind}_tag"] = output(state, f"{kind}_tags.{stack}", feature)
        found[f"{kind}_offset"] = output(state, f"{kind}_regrs.{stack}", feature)
    if centre is not None:
        name = f"ct_cnvs.{stack}"
        feature = branch(state, name, x, centre(state, name, x))
        found["ct_heat"] = output(state, f"ct_heats.{stack}", feature)
        found["ct_offset"] = output(state, f"ct_regrs.{stack}", feature)
    return found
