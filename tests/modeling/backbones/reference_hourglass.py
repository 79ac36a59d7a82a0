"""Stacked hourglasses as plain functions of a state dict, after their description."""

from __future__ import annotations

import torch.nn.functional as F


class Reference:
    """Computes with the weights of a state dict, normalising by its running statistics."""

    def __init__(self, state, levels, stacks):
        self.state, self.levels, self.stacks = state, levels, stacks

    def conv(self, name, x, stride=1):
        weight = self.state[f"{name}.weight"]
        return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2)

    def norm(self, name, x):
        mean, var, weight, bias = (
            self.state[f"{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5) ** 0.5 * weight + bias

    def cbr(self, name, x, stride=1):
        return self.norm(f"{name}.bn", self.conv(f"{name}.conv", x, stride)).clamp(min=0)

    def residual(self, name, x, stride=1):
        y = self.norm(f"{name}.bn1", self.conv(f"{name}.conv1", x, stride)).clamp(min=0)
        y = self.norm(f"{name}.bn2", self.conv(f"{name}.conv2", y))
        if f"{name}.skip.0.weight" in self.state:
            x = self.norm(f"{name}.skip.1", self.conv(f"{name}.skip.0", x, stride))
        return (y + x).clamp(min=0)

    def chain(self, name, x, stride=1):
        i = 0
        while f"{name}.{i}.conv1.weight" in self.state:
            x = self.residual(f"{name}.{i}", x, stride if i == 0 else 1)
            i += 1
        assert i, name
        return x

    def hourglass(self, name, x, level=0):
        up = self.chain(f"{name}.up1", x)
        low = self.chain(f"{name}.low1", x, stride=2)
        if level == self.levels - 1:
            low = self.chain(f"{name}.low2", low)
        else:
            low = self.hourglass(f"{name}.low2", low, level + 1)
        low = self.chain(f"{name}.low3", low)
        return up + low.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    def __call__(self, image):
        x = self.residual("pre.1", self.cbr("pre.0", image, 2), 2)
        found = []
        for s in range(self.stacks):
            found.append(self.cbr(f"cnvs.{s}", self.hourglass(f"kps.{s}", x)))
            if s + 1 < self.stacks:
                joined = self.norm(f"inters_.{s}.1", self.conv(f"inters_.{s}.0", x))
                joined = joined + self.norm(f"cnvs_.{s}.1", self.conv(f"cnvs_.{s}.0", found[-1]))
                x = self.residual(f"inters.{s}", joined.clamp(min=0))
        return found
