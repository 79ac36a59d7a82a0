from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.modeling.peaks import heat_loss
from centernet2.modeling.triplets.losses import (
    LossSettings,
    offset_loss,
    tag_losses,
    triplet_losses,
)
from centernet2.modeling.triplets.maps import TripletMaps
from centernet2.modeling.triplets.targets import TargetSettings, TripletTargets, make_targets

from . import reference

INPUT, OUTPUT, NUM_CLASSES = (63, 95), (16, 24), 2


def random_targets(rng: np.random.Generator, counts: list[int]) -> TripletTargets:
    limit = torch.tensor([INPUT[1] - 1, INPUT[0] - 1])
    boxes = []
    for count in counts:
        points = torch.tensor(rng.uniform(size=(count, 2, 2)), dtype=torch.float32) * limit
        boxes.append(torch.cat([points.amin(dim=1), points.amax(dim=1)], dim=1))
        boxes[-1][1::3] = boxes[-1][:1]  # objects in the same cells
    classes = [torch.tensor(rng.integers(0, NUM_CLASSES, n)) for n in counts]
    return make_targets(boxes, classes, INPUT, OUTPUT, NUM_CLASSES, TargetSettings())


def random_maps(rng: np.random.Generator, images: int, spread: float = 3.0) -> TripletMaps:
    def draw(channels: int) -> torch.Tensor:
        values = rng.normal(scale=spread, size=(images, channels, *OUTPUT))
        return torch.tensor(values, dtype=torch.float32, requires_grad=True)

    return TripletMaps(
        tl_heat=draw(NUM_CLASSES), br_heat=draw(NUM_CLASSES), ct_heat=draw(NUM_CLASSES),
        tl_tag=draw(1), br_tag=draw(1),
        tl_offset=draw(2), br_offset=draw(2), ct_offset=draw(2),
    )  # fmt: skip


def per_image(values: torch.Tensor, targets: TripletTargets) -> list[list[float]]:
    return [part.tolist() for part in values.detach().double().split(targets.counts.tolist())]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    diagonal=st.booleans(),
    spread=st.sampled_from([0.3, 3.0, 20.0]),
)
def test_all_losses_match_the_reference(seed, counts, diagonal, spread):
    rng = np.random.default_rng(seed)
    targets = random_targets(rng, counts)
    maps = random_maps(rng, len(counts), spread)
    weights = LossSettings(0.3, 0.2, 0.7, push_diagonal=diagonal)
    found = triplet_losses(maps, targets, weights)

    tags = {}
    expected = {}
    for name in ("tl", "br", "ct"):
        keypoints = getattr(targets, name)
        heat, offset = getattr(maps, f"{name}_heat"), getattr(maps, f"{name}_offset")
        expected[f"loss_{name}_heat"] = reference.focal(
            heat.detach().double().numpy(), keypoints.heat.double().numpy()
        )
        at = [
            (int(b), int(cell) // OUTPUT[1], int(cell) % OUTPUT[1])
            for b, cell in zip(targets.image, keypoints.cell)
        ]
        predicted = np.array([offset[b, :, y, x].tolist() for b, y, x in at]).reshape(-1, 2)
        value = reference.offsets(predicted, keypoints.offset.double().numpy())
        expected[f"loss_{name}_offset"] = 0.7 * value
        if name != "ct":
            tag = getattr(maps, f"{name}_tag")
            values = torch.tensor(
                [float(tag[b, 0, y, x].detach()) for b, y, x in at], dtype=torch.float64
            )
            tags[name] = per_image(values, targets)
    pull, push = reference.pull_push(tags["tl"], tags["br"], diagonal)
    expected["loss_pull"], expected["loss_push"] = 0.3 * pull, 0.2 * push

    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # For one box, push divides a rounding error of float32 by 1e-4
        atol = 5e-4 if name == "loss_push" else 1e-5
        assert float(found[name].detach()) == pytest.approx(value, rel=2e-5, abs=atol), name


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    diagonal=st.booleans(),
)
def test_tag_losses_in_float64(seed, counts, diagonal):
    rng = np.random.default_rng(seed)
    targets = random_targets(rng, counts)
    tl, br = torch.tensor(rng.normal(size=(2, sum(counts))))
    found = tag_losses(tl, br, targets, diagonal)
    expected = reference.pull_push(per_image(tl, targets), per_image(br, targets), diagonal)
    assert [float(f) for f in found] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_gradients_of_tags_and_offsets_are_those_of_their_values():
    rng = np.random.default_rng(3)
    targets = random_targets(rng, [3, 0, 1])
    tl, br = torch.tensor(rng.normal(size=(2, 4)))
    tl.requires_grad_()
    br.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: tag_losses(a, b, targets), (tl, br))
    points = torch.tensor(rng.normal(size=(2, 4, 2)))
    assert torch.autograd.gradcheck(lambda a: offset_loss(a, points[1]), points[0].requires_grad_())


def test_one_box_leaves_the_published_constant_without_gradient():
    """[1 - 1 / 1.0001] / 0.0001, whatever the tags are."""
    targets = random_targets(np.random.default_rng(0), [1])
    tl, br = torch.tensor([[0.3], [-2.0]], requires_grad=True)
    pull, push = tag_losses(tl, br, targets)
    assert float(push.detach()) == pytest.approx(0.9999, abs=2e-3)  # 1 - 1 / 1.0001 in float32
    (gradient,) = torch.autograd.grad(push, tl)
    assert float(gradient) == 0
    assert float(tag_losses(tl, br, targets, push_diagonal=False)[1].detach()) == 0
    assert float(pull.detach()) == pytest.approx(2 * 1.15**2 / 1.0001)


def test_clamped_logits_have_no_gradient_and_the_others_that_of_the_formula():
    rng = np.random.default_rng(5)
    targets = random_targets(rng, [3])
    logits = torch.tensor(rng.normal(scale=8, size=targets.tl.heat.shape), dtype=torch.float32)
    logits.requires_grad_()
    (found,) = torch.autograd.grad(heat_loss(logits, targets.tl), logits)

    p = logits.double().sigmoid().clamp(1e-4, 1 - 1e-4)
    t = targets.tl.heat.double()
    at_peaks = (1 - p) ** 2 * p.log()
    elsewhere = (1 - t) ** 4 * p**2 * (1 - p).log()
    value = -torch.where(t == 1, at_peaks, elsewhere).sum() / len(targets.tl.peak)
    (expected,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
    saturated = logits.abs() > 9.3
    assert saturated.any() and not found[saturated].any()


def test_without_boxes_all_maps_still_receive_a_gradient():
    maps = random_maps(np.random.default_rng(0), 2)
    losses = triplet_losses(maps, random_targets(np.random.default_rng(0), [0, 0]), LossSettings())
    gradients = torch.autograd.grad(sum(losses.values()), list(maps))
    assert all(torch.isfinite(g).all() for g in gradients)
    assert float(losses["loss_pull"]) == float(losses["loss_tl_offset"]) == 0
    assert float(losses["loss_tl_heat"]) > 0  # the negatives alone, not divided


def test_half_precision_maps_are_computed_in_float32():
    rng = np.random.default_rng(2)
    targets, maps = random_targets(rng, [4]), random_maps(rng, 1)
    half = TripletMaps(*(m.half() for m in maps))
    single = TripletMaps(*(m.float() for m in half))
    found = triplet_losses(half, targets, LossSettings())
    expected = triplet_losses(single, targets, LossSettings())
    for name, value in expected.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], value)


def test_cornernet_has_no_losses_of_centers():
    rng = np.random.default_rng(2)
    targets, maps = random_targets(rng, [4]), random_maps(rng, 1)
    found = triplet_losses(maps._replace(ct_heat=None, ct_offset=None), targets, LossSettings())
    assert not [name for name in found if "ct" in name]


def test_hundreds_of_boxes_in_an_image():
    rng = np.random.default_rng(9)
    targets = random_targets(rng, [200])
    tl, br = torch.tensor(rng.normal(scale=30, size=(2, 200)))
    found = [float(loss) for loss in tag_losses(tl, br, targets)]
    assert found == pytest.approx(reference.pull_push([tl.tolist()], [br.tolist()]), rel=1e-9)
