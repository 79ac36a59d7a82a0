from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.modeling.points.losses import LossSettings, l1_loss, point_losses
from centernet2.modeling.points.maps import PointMaps

from . import reference
from .test_targets import SIZE, made, scene


def random_maps(seed: int, batch: int, pose: bool, classes: int = 3, joints: int = 5) -> PointMaps:
    generator = torch.Generator().manual_seed(seed)
    channels = [classes, 2, 2] + ([2 * joints, joints, 2] if pose else [])
    # Logits beyond the clamp too
    return PointMaps(
        *(4 * torch.randn(batch, c, *SIZE, generator=generator).double() for c in channels)
    )


@settings(max_examples=25, deadline=None)
@given(
    seeds=st.lists(st.integers(0, 2**31), min_size=1, max_size=2),
    count=st.integers(0, 4),
    pose=st.booleans(),
)
def test_losses_are_those_of_the_plain_loops(seeds, count, pose):
    scenes = [scene(seed, count) for seed in seeds]
    maps = random_maps(seeds[0], len(seeds), pose)
    found = point_losses(maps, made(scenes, pose), LossSettings())
    batch = [
        reference.targets(b.tolist(), c.tolist(), SIZE, 3, p.tolist() if pose else None)
        for b, c, p in scenes
    ]
    if pose and not count:  # nobody tells the reference how many joints there are
        for t in batch:
            t.update(hm_hp=np.zeros((5, *SIZE)), hps=np.zeros((0, 10)), hps_mask=np.zeros((0, 10)))
    named = {k: v.numpy() for k, v in maps._asdict().items() if v is not None}
    expected = reference.losses(named, batch)
    assert set(found) == {f"loss_{name}" for name in expected}
    for name, value in expected.items():
        np.testing.assert_allclose(found[f"loss_{name}"], value, rtol=2e-5, atol=1e-7, err_msg=name)


def test_each_loss_has_its_weight():
    targets, maps = made([scene(1, 4)], True), random_maps(0, 1, True)
    plain = point_losses(maps, targets, LossSettings(wh=1.0))
    for name in ("hm", "wh", "reg", "hps", "hm_hp", "hp_offset"):
        weighted = point_losses(maps, targets, LossSettings(**{"wh": 1.0, name: 3.0}))
        for key, value in weighted.items():
            factor = 3 if key == f"loss_{name}" else 1
            np.testing.assert_allclose(value, factor * plain[key])


def test_the_divisor_counts_coordinates():
    predicted, expected = torch.tensor([[1.0, 2], [3, 4]]), torch.zeros(2, 2)
    np.testing.assert_allclose(l1_loss(predicted, expected), 10 / 4.0001, rtol=1e-6)


def test_coincident_centres_count_once_as_peaks_and_twice_as_boxes():
    box = np.float32([[0, 0, 40, 40], [0, 0, 40, 40]])
    twice = made([(box, np.array([1, 1]), np.zeros((2, 5, 3), np.float32))], False)
    assert len(twice.centers.peak) == 1 and len(twice.size) == 2


def test_without_objects_every_parameter_still_has_a_gradient():
    maps = PointMaps(*(m.float().requires_grad_() for m in random_maps(0, 2, True)))
    losses = point_losses(maps, made([scene(0, 0), scene(1, 0)], True), LossSettings())
    sum(losses.values()).backward()
    assert all(m.grad is not None and torch.isfinite(m.grad).all() for m in maps)
    assert losses["loss_wh"] == 0 and losses["loss_hm"] > 0


def test_half_precision_maps_give_losses_in_single():
    maps = PointMaps(*(m.bfloat16() for m in random_maps(0, 1, True)))
    for name, loss in point_losses(maps, made([scene(1, 3)], True), LossSettings()).items():
        assert loss.dtype == torch.float32 and torch.isfinite(loss), name
