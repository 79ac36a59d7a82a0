from __future__ import annotations

import pytest
import torch
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes

from centernet2.modeling.roi_heads import pooler as module
from centernet2.modeling.roi_heads.pooler import Pooler, faster_pooler

SETTINGS = {
    "output_size": 7,
    "scales": [1 / 4, 1 / 8, 1 / 16],
    "sampling_ratio": 0,
    "pooler_type": "ROIAlignV2",
    "canonical_box_size": 96,
    "canonical_level": 3,
}


def _inputs() -> tuple[list[torch.Tensor], list[Boxes]]:
    torch.manual_seed(0)
    maps = [torch.randn(2, 5, n, n) for n in (32, 16, 8)]
    boxes = []
    for count in (9, 4):
        corner = torch.rand(count, 2) * 80
        boxes.append(Boxes(torch.cat([corner, corner + torch.rand(count, 2) ** 2 * 100], dim=1)))
    return maps, boxes


def _calls(monkeypatch) -> list[int]:
    calls = []
    fast = module.pyramid_roi_align

    def counted(*arguments):
        calls.append(1)
        return fast(*arguments)

    monkeypatch.setattr(module, "pyramid_roi_align", counted)
    return calls


@pytest.mark.parametrize("changes", [{}, {"output_size": (3, 3), "sampling_ratio": 2}])
def test_pools_what_detectron2_does(changes, monkeypatch):
    calls = _calls(monkeypatch)
    plain = ROIPooler(**{**SETTINGS, **changes})
    maps, boxes = _inputs()
    with torch.no_grad():
        torch.testing.assert_close(faster_pooler(plain)(maps, boxes), plain(maps, boxes))
        nothing = [Boxes(torch.zeros(0, 4))] * 2
        assert faster_pooler(plain)(maps, nothing).shape == plain(maps, nothing).shape
    assert len(calls) == 2


def test_training_and_double_precision_take_detectron2s_own_way(monkeypatch):
    calls = _calls(monkeypatch)
    plain = ROIPooler(**SETTINGS)
    maps, boxes = _inputs()
    grads = []
    for pooler in (plain, faster_pooler(plain)):
        leaf = maps[0].clone().requires_grad_()
        pooler([leaf, *maps[1:]], boxes).square().sum().backward()
        grads.append(leaf.grad)
    assert torch.equal(*grads)
    with torch.no_grad():
        faster_pooler(plain)([m.double() for m in maps], boxes)
    assert not calls


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("training", [False, True])
def test_boxes_are_not_rounded_to_the_precision_of_the_maps(dtype, training):
    plain = ROIPooler(**{**SETTINGS, "scales": [1 / 8, 1 / 16, 1 / 32]})
    torch.manual_seed(0)
    maps = [torch.randn(1, 3, n, n).to(dtype).requires_grad_(training) for n in (200, 100, 50)]
    low = 1030 + 300 * torch.rand(20, 2)  # where bfloat16 has every eighth number
    boxes = [Boxes(torch.cat([low, low + 8 + 200 * torch.rand(20, 2) ** 2], dim=1))]
    exact = plain([m.float() for m in maps], boxes)
    with torch.autocast("cpu", dtype=dtype), torch.set_grad_enabled(training):
        found = faster_pooler(plain)(maps, boxes)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), exact, atol=0.01, rtol=0.01)
    if training:
        found.sum().backward()
        assert all(m.grad.dtype == dtype for m in maps)


def test_other_kernels_are_left_as_they_are():
    plain = ROIPooler(**{**SETTINGS, "pooler_type": "ROIAlign"})
    assert faster_pooler(plain) is plain
    assert isinstance(faster_pooler(ROIPooler(**SETTINGS)), Pooler)
