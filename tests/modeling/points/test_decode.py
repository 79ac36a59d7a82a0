from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet2.errors import UserError
from centernet2.modeling.points.decode import decode
from centernet2.modeling.points.joints import JointSettings
from centernet2.modeling.points.maps import PointMaps

from . import reference


def people_maps(seed: int, batch: int, joints: int = 4, size: tuple = (9, 11)) -> PointMaps:
    """Probabilities, all different; boxes large enough for some joints to be near a peak."""
    rng = np.random.default_rng(seed)

    def heat(channels: int) -> np.ndarray:
        values = rng.permutation(batch * channels * size[0] * size[1]) + 1.0
        return (values / values.max()).reshape(batch, channels, *size) ** 3

    def random(channels: int, low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (batch, channels, *size))

    maps = (
        heat(2), random(2, 0, 9), random(2, 0, 1),
        random(2 * joints, -4, 4), heat(joints), random(2, 0, 1),
    )  # fmt: skip
    return PointMaps(*(torch.from_numpy(m) for m in maps))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    match=st.sampled_from(["authors", "tfod", "regression"]),
    top_k=st.sampled_from([1, 7, 30]),
)
def test_objects_are_those_of_the_plain_loops(seed, match, top_k):
    maps = people_maps(seed, 2)
    found = decode(maps, top_k, JointSettings(match))
    assert found.joints is not None
    for i in range(2):
        named = {name: part[i].numpy() for name, part in maps._asdict().items()}
        expected = reference.decode(named, top_k, match)
        n = len(expected)
        assert found.classes[i, :n].tolist() == [e["label"] for e in expected]
        np.testing.assert_allclose(found.scores[i, :n], [e["score"] for e in expected], rtol=1e-5)
        np.testing.assert_allclose(found.boxes[i, :n], [e["box"] for e in expected], atol=1e-4)
        np.testing.assert_allclose(found.joints[i, :n], [e["joints"] for e in expected], atol=1e-4)
        assert not found.scores[i, n:].any()


def test_without_pose():
    maps = people_maps(0, 1)
    found = decode(PointMaps(*maps[:3]), 5, JointSettings())
    assert found.joints is None
    np.testing.assert_array_equal(found.boxes, decode(maps, 5, JointSettings()).boxes)


def one_person(peak: tuple[int, int], score: float) -> PointMaps:
    """Its box is 2 to 18 across and down, its joint seen at (10, 10); a peak of the joint."""
    heat = torch.zeros(1, 1, 24, 24)
    heat[0, 0, 10, 10] = 0.9
    joint = torch.zeros(1, 1, 24, 24)
    joint[0, 0, peak[1], peak[0]] = score
    none = torch.zeros(1, 2, 24, 24)
    return PointMaps(heat, torch.full_like(none, 16), none, none, joint, none)


@pytest.mark.parametrize(
    ("peak", "score", "authors", "tfod"),
    [
        ((14, 10), 0.5, True, True),
        ((14, 10), 0.1, False, False),  # not more than the threshold
        ((14, 10), 0.11, True, True),
        ((15, 10), 0.5, False, True),  # 5 away: more than 0.3 * 16, less than 0.3 * 19.2
        ((16, 10), 0.5, False, False),
    ],
)
def test_which_peaks_a_joint_takes(peak, score, authors, tfod):
    maps = one_person(peak, score)
    for match, taken in (("authors", authors), ("tfod", tfod), ("regression", False)):
        joints = decode(maps, 1, JointSettings(match)).joints
        assert joints is not None
        assert joints[0, 0, 0, :2].tolist() == list(map(float, peak if taken else (10, 10))), match
        confidence = 1.0 if match != "tfod" else score if taken else 0.1
        assert joints[0, 0, 0, 2].item() == pytest.approx(confidence)


def test_joints_are_seen_from_the_whole_cell_not_from_the_offset_centre():
    maps = one_person((0, 0), 0.0)._replace(reg=torch.full((1, 2, 24, 24), 0.75))
    found = decode(maps, 1, JointSettings())
    assert found.joints is not None
    assert found.joints[0, 0, 0, :2].tolist() == [10, 10]
    assert found.boxes[0, 0].tolist() == [2.75, 2.75, 18.75, 18.75]


def test_equal_neighbours_are_both_peaks():
    heat = torch.zeros(1, 1, 6, 6)
    heat[0, 0, 2, 2:4] = 0.5
    none = torch.zeros(1, 2, 6, 6)
    assert (decode(PointMaps(heat, none, none), 4, JointSettings()).scores[0] > 0).sum() == 2


def test_maps_with_fewer_cells_than_detections():
    maps = people_maps(0, 1, size=(2, 2))
    assert decode(maps, 100, JointSettings()).scores.shape == (1, 8)


def test_an_unknown_rule_is_refused():
    with pytest.raises(UserError, match=r"JOINT_MATCH is 'nearest'.*'authors', 'tfod'"):
        JointSettings("nearest")
