"""The weights of a fusion."""

from __future__ import annotations

import torch

from centernet2.modeling.backbones.bifpn_graph import FIVE_LEVELS, THREE_LEVELS, fuse


def test_weights_are_clipped_and_normalised():
    maps = [torch.full((1, 2, 3, 3), value) for value in (1.0, 10.0, 100.0)]
    fused = fuse(maps, torch.tensor([3.0, -5.0, 1.0]))
    torch.testing.assert_close(fused, torch.full((1, 2, 3, 3), 103 / 4.0001))


def test_no_positive_weight_gives_zero_and_not_nan():
    maps = [torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2)]
    weights = torch.tensor([-1.0, 0.0], requires_grad=True)
    fused = fuse(maps, weights)
    fused.sum().backward()
    assert not fused.any() and weights.grad.isfinite().all()


def test_the_fusion_keeps_half_precision():
    maps = [torch.ones(1, 1, 2, 2, dtype=torch.bfloat16)] * 2
    assert fuse(maps, torch.ones(2)).dtype == torch.bfloat16


def test_the_last_nodes_are_the_levels_in_order():
    for graph, levels in ((FIVE_LEVELS, 5), (THREE_LEVELS, 3)):
        assert [node.level for node in graph[-levels:]] == list(range(levels))
