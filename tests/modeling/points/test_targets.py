from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.modeling.peaks import gaussian_radius
from centernet2.modeling.points.targets import PointTargets, TargetSettings, make_targets

from . import reference

SIZE = (12, 16)


def scene(seed: int, count: int, joints: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes that leave the map, are empty, or fall together, and people with few labels or none."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-20, 60, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 50, (count, 2))], axis=1)
    boxes[::3] = boxes[::3].round()
    if count > 2:
        boxes[2] = boxes[1]
        boxes[0, 2] = boxes[0, 0]
    people = np.concatenate(
        [rng.uniform(-4, 68, (count, joints, 2)), rng.integers(0, 3, (count, joints, 1))], axis=2
    )
    people[::2, :, 0] = people[::2, :, 0].round()
    people[rng.random(count) < 0.3, :, 2] = 0
    # As both see float32
    return (
        boxes.astype(np.float32), rng.integers(0, 3, count), people.astype(np.float32)
    )  # fmt: skip


def made(scenes: list, pose: bool, **options: float) -> PointTargets:
    return make_targets(
        [torch.from_numpy(boxes) for boxes, _, _ in scenes],
        [torch.from_numpy(labels) for _, labels, _ in scenes],
        SIZE, 3, TargetSettings(**options),
        [torch.from_numpy(people) for _, _, people in scenes] if pose else None,
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    seeds=st.lists(st.integers(0, 2**31), min_size=1, max_size=3),
    counts=st.lists(st.integers(0, 5), min_size=3, max_size=3),
    pose=st.booleans(),
    overlap=st.sampled_from([0.7, 0.3]),
)
def test_targets_are_those_of_the_plain_loops(seeds, counts, pose, overlap):
    scenes = [scene(seed, count) for seed, count in zip(seeds, counts)]
    found = made(scenes, pose, overlap=overlap)
    references = [
        reference.targets(b.tolist(), c.tolist(), SIZE, 3, p.tolist() if pose else None, overlap)
        for b, c, p in scenes
    ]
    heat = np.stack([r["hm"] for r in references])
    np.testing.assert_allclose(found.centers.heat, heat, atol=1e-6)
    assert sorted(found.centers.peak.tolist()) == np.flatnonzero(heat == 1).tolist()

    # The slots of boxes that a cell sees, image by image
    seen = [np.flatnonzero(r["wh"].min(axis=1) > 0) for r in references]

    def join(name: str) -> np.ndarray:
        return np.concatenate([r[name][s] for r, s in zip(references, seen)])

    assert found.image.tolist() == [i for i, s in enumerate(seen) for _ in s]
    assert found.centers.cell.tolist() == join("ind").tolist()
    np.testing.assert_allclose(found.size, join("wh"), atol=1e-5)
    np.testing.assert_allclose(found.centers.offset, join("reg"), atol=1e-5)
    assert found.regressed.tolist() == join("reg_mask").astype(bool).tolist()

    if not pose:
        assert found.joints is None
        return
    assert found.joints is not None
    heat = np.stack([
        r["hm_hp"] if len(s[0]) else np.zeros((5, *SIZE)) for r, s in zip(references, scenes)
    ])  # fmt: skip
    np.testing.assert_allclose(found.joints.points.heat, heat, atol=1e-6)
    used = [r["hp_mask"] == 1 for r in references]
    np.testing.assert_allclose(
        found.joints.points.offset,
        np.concatenate([r["hp_offset"][u] for r, u in zip(references, used)]),
        atol=1e-5,
    )
    assert found.joints.points.cell.tolist() == [
        c for r, u in zip(references, used) for c in r["hp_ind"][u].tolist()
    ]
    shifts = [r["hps"][r["hps_mask"] == 1].reshape(-1, 2) for r in references]
    np.testing.assert_allclose(found.joints.shift, np.concatenate(shifts), atol=1e-4)


def test_the_radius_is_that_of_the_wrong_roots():
    """A square of 20 cells."""
    box = [torch.tensor([[8.0, 8, 88, 88]])]
    label = [torch.zeros(1, dtype=torch.int64)]
    for corrected, radius in ((False, 5), (True, 1)):
        found = make_targets(box, label, (32, 32), 1, TargetSettings(0.7, corrected))
        row = found.centers.heat[0, 0, 12]
        assert (row > 0).sum() == 2 * radius + 1, corrected
    sides = torch.tensor([10.0]).double(), torch.tensor([5.0]).double()
    assert gaussian_radius(*sides, 0.5).item() == pytest.approx(2.807764, abs=1e-6)


def test_people_without_labels_are_peaks_but_not_regressed():
    boxes, labels = np.float32([[0, 0, 40, 40]]), np.array([0])
    for visible, regressed in ((0, False), (1, True)):
        # A labelled joint outside of the map still counts as a label
        people = np.float32([[[200, 3, visible], [5, 5, 0]]])
        found = made([(boxes, labels, people)], True)
        assert len(found.centers.peak) == 1
        assert found.regressed.tolist() == [regressed]
        assert found.joints is not None and len(found.joints.image) == 0


def test_a_joint_on_the_edge_of_the_map():
    boxes, labels = np.float32([[0, 0, 40, 40]]), np.array([0])
    people = np.float32([[[63.99, 0, 2], [64, 0, 2], [0, 47.9, 1], [0, -0.01, 1]]])
    found = made([(boxes, labels, people)], True)
    assert found.joints is not None
    assert found.joints.joint.tolist() == [0, 2]
    assert found.joints.points.cell.tolist() == [15, 11 * 16]


def test_nothing_to_learn():
    found = made([scene(0, 0), scene(1, 0)], True)
    assert found.centers.heat.shape == (2, 3, *SIZE) and not found.centers.heat.any()
    assert found.joints is not None and found.joints.points.heat.shape == (2, 5, *SIZE)


def test_there_is_no_limit_of_objects():
    assert len(made([scene(5, 200)], False).size) > 128
