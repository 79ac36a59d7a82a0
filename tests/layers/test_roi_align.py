from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align

from centernet2.layers import pyramid_roi_align

SCALES = [1 / 8, 1 / 16, 1 / 32]


def _plain(maps, boxes, image, level, size, ratio):
    out = torch.empty(len(boxes), maps[0].shape[1], *size)
    for i, (box, b, k) in enumerate(zip(boxes, image, level)):
        roi = torch.cat([b[None].float(), box])[None]
        out[i] = roi_align(maps[k], roi, size, SCALES[k], ratio, aligned=True)[0]
    return out


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(0, 30),
    size=st.sampled_from([(7, 7), (14, 14), (1, 1), (3, 5)]),
    ratio=st.sampled_from([0, 1, 2, 3]),
    channels_last=st.booleans(),
    spread=st.sampled_from([30.0, 150.0, 600.0]),
)
def test_values_are_those_of_torchvision(seed, count, size, ratio, channels_last, spread):
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(2, 6, n, n + 3, generator=generator) for n in (20, 10, 5)]
    if channels_last:
        maps = [m.to(memory_format=torch.channels_last) for m in maps]
    corner = torch.rand(count, 2, generator=generator) * spread - spread / 4  # also outside
    boxes = torch.cat([corner, corner + torch.rand(count, 2, generator=generator) * spread], dim=1)
    image = torch.randint(0, 2, (count,), generator=generator)
    level = torch.randint(0, 3, (count,), generator=generator)
    got = pyramid_roi_align(maps, SCALES, boxes, image, level, size, ratio)
    expected = _plain(maps, boxes, image, level, size, ratio)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    "box", [[3.0, 3.0, 3.0, 3.0], [0.0, 0.0, 4000.0, 2.0], [-900.0, -9.0, -800.0, 9.0]]
)
def test_odd_boxes(box):
    maps = [torch.randn(1, 4, n, n) for n in (20, 10, 5)]
    for k in range(3):
        args = (torch.tensor([box]), torch.tensor([0]), torch.tensor([k]), (7, 7), 0)
        torch.testing.assert_close(
            pyramid_roi_align(maps, SCALES, *args), _plain(maps, *args), rtol=1e-4, atol=2e-5
        )
