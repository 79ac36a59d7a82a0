from __future__ import annotations

import numpy as np
import pytest
import torch

from centernet2.inference.detections import Detections
from centernet2.inference.drawing import draw_instances, draw_predictions
from centernet2.inference.images import enlarged
from centernet2.inference.results import coco_results
from centernet2.inference.skeleton import draw_skeleton
from centernet2.inference.sources import Source

GREEN = (0, 200, 0)


def standing(x: float, y: float, size: float) -> np.ndarray:
    """A person of COCO's 17 joints in a box of that height."""
    across = [0, -1, 1, -2, 2, -4, 4, -5, 5, -5, 5, -3, 3, -3, 3, -3, 3]
    down = [2, 1, 1, 2, 2, 6, 6, 10, 10, 14, 14, 14, 14, 20, 20, 26, 26]
    points = np.column_stack([across, down]) * size / 28
    return np.column_stack([points + [x, y], np.ones(17)]).astype(np.float32)


def blank(height: int = 300, width: int = 400) -> np.ndarray:
    return np.zeros((height, width, 3), dtype=np.uint8)


def shade(canvas: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Colour at a point on black, whatever the smoothing of edges left of its brightness."""
    x, y = point.round().astype(int)
    pixel = canvas[y, x].astype(float)
    assert pixel.max() > 100
    return 255 * pixel / pixel.max()


def test_joints_are_dots_and_limbs_have_the_colours_of_detectron2():
    canvas, joints = blank(), standing(200, 20, 260)
    draw_skeleton(canvas, joints, GREEN, 3)
    for x, y, _ in joints:
        assert tuple(canvas[round(float(y)), round(float(x))]) == GREEN
    knee, ankle = joints[13, :2], joints[15, :2]
    # The left shin, and the spine
    np.testing.assert_allclose(shade(canvas, (knee + ankle) / 2), (191, 255, 128), atol=3)
    middle = ((joints[5, :2] + joints[6, :2]) + (joints[11, :2] + joints[12, :2])) / 4
    np.testing.assert_allclose(shade(canvas, middle), (255, 0, 0), atol=3)


def test_joints_without_a_label_are_not_drawn():
    joints = standing(200, 20, 260)
    joints[:, 2] = 0
    canvas = blank()
    draw_skeleton(canvas, joints, GREEN, 3)
    assert not canvas.any()
    joints[15, 2] = 1
    draw_skeleton(canvas, joints, GREEN, 3)
    rows, columns = np.nonzero(canvas.any(axis=2))
    assert abs(rows.mean() - joints[15, 1]) < 1 and abs(columns.mean() - joints[15, 0]) < 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30, -1e30])
def test_joints_anywhere(bad):
    joints = standing(200, 20, 260)
    joints[3, 0] = bad
    draw_skeleton(blank(), joints, GREEN, 3)


def test_other_numbers_of_joints_are_dots():
    canvas = blank()
    draw_skeleton(canvas, np.float32([[50, 60, 1], [200, 210, 1]]), GREEN, 3)
    assert tuple(canvas[60, 50]) == tuple(canvas[210, 200]) == GREEN
    assert not canvas[100:180, 80:180].any()


@pytest.fixture
def people(make_instances):
    found = make_instances((300, 400), [[150.0, 10, 250, 290], [5.0, 5, 60, 95]], False)
    found.pred_classes[:] = 0
    joints = np.stack([standing(200, 20, 260), standing(30, 10, 80)])
    found.pred_keypoints = torch.from_numpy(joints)
    return found


def test_a_drawing_of_predictions_has_them(people):
    with_joints = draw_predictions(blank(), people, ["person"])
    joints = people.pred_keypoints.clone()
    people.remove("pred_keypoints")
    without = draw_predictions(blank(), people, ["person"])
    x, y = joints[0, 9, :2].round().int().tolist()
    assert with_joints[y, x].any() and not without[y, x].any()
    with pytest.raises(ValueError, match="joints differ in number"):
        draw_instances(blank(), np.zeros((2, 4)), None, ["", ""], [GREEN] * 2, np.zeros((1, 17, 3)))


def test_they_grow_with_a_small_picture(people):
    small = people
    picture, large = enlarged(blank(100, 130), small)
    times = picture.shape[0] / 100
    assert times > 1
    torch.testing.assert_close(large.pred_keypoints[..., :2], small.pred_keypoints[..., :2] * times)
    assert (large.pred_keypoints[..., 2] == 1).all()


def test_detections_have_keypoints(people):
    found = Detections.from_instances(people, ["person"], [1], Source(pixels=blank()))
    assert found.keypoints.shape == (2, 17, 3) and found.keypoints.dtype == np.float32
    assert found[1].keypoints.shape == (1, 17, 3)
    np.testing.assert_array_equal(found[[1]].keypoints[0], found.keypoints[1])
    assert found.to_instances().has("pred_keypoints")
    assert np.asarray(found.plot()).any()
    plain = Detections.from_instances(people[:0], ["person"], [1], Source(pixels=blank()))
    assert plain.keypoints.shape == (0, 17, 3)


def test_coco_results_are_in_coordinates_of_pixels_and_leave_the_joints_alone(people):
    before = people.pred_keypoints.clone()
    for _ in range(2):
        first, _ = coco_results(people, 7, [1])
        expected = (before[0] - torch.tensor([0.5, 0.5, 0])).flatten()
        np.testing.assert_allclose(first["keypoints"], expected)
    torch.testing.assert_close(people.pred_keypoints, before)
