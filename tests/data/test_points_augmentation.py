from __future__ import annotations

import cv2
import numpy as np
import pytest
from detectron2.data import transforms as T

from centernet2.data.points_augmentation import PointsCrop, PointsCropTransform


def three_point_matrix(center, side: float, size: int) -> np.ndarray:
    """The similarity as it was published: fixed by three points."""

    def corner(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        away = first - second
        return second + np.array([-away[1], away[0]])

    center = np.float32(center)
    source = [center, center + np.float32([0, -side / 2])]
    target = [np.float32([size / 2] * 2), np.float32([size / 2, 0])]
    for points in (source, target):
        points.append(corner(*points))
    return cv2.getAffineTransform(np.float32(source), np.float32(target))


@pytest.mark.parametrize("center", [(150, 90), (31.5, 70.0)])
@pytest.mark.parametrize("side", [200.0, 97.3])
def test_the_window_is_that_of_three_points(center, side):
    expected = three_point_matrix(center, side, 128)
    transform = PointsCropTransform(center, side, 128)
    np.testing.assert_allclose(transform.matrix, expected, atol=1e-4)
    points = np.random.default_rng(0).uniform(-50, 300, (20, 2))
    np.testing.assert_allclose(
        transform.apply_coords(points), points @ expected[:, :2].T + expected[:, 2], atol=1e-3
    )


def test_mirroring_first_is_what_one_warp_does():
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (90, 121, 3), dtype=np.uint8), (9, 9), 0)
    together = PointsCropTransform((40, 33), 80.0, 96, mirror=True)
    apart = PointsCropTransform((121 - 1 - 40, 33), 80.0, 96)
    expected = apart.apply_image(image[:, ::-1])
    found = together.apply_image(image)
    # OpenCV places pixels on a 32nd of a pixel
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 3
    points = rng.uniform(0, 90, (20, 2))
    mirrored = np.column_stack([121 - 1 - points[:, 0], points[:, 1]])
    np.testing.assert_allclose(together.apply_coords(points), apart.apply_coords(mirrored))


def test_pixels_and_points_move_together_and_outside_is_black():
    image = np.zeros((60, 80, 3), dtype=np.uint8)
    image[20:23, 50:53] = 255
    for mirror in (False, True):
        transform = PointsCropTransform((45, 25), 40.0, 160, mirror)
        (point,) = transform.apply_coords(np.array([[51.0, 21.0]]))
        rows, columns = np.nonzero(transform.apply_image(image)[:, :, 0] > 128)
        np.testing.assert_allclose([columns.mean(), rows.mean()], point, atol=0.6)
    far = PointsCropTransform((500, 500), 40.0, 64)
    assert not far.apply_image(np.full((60, 80, 3), 200, np.uint8)).any()


def test_maps_of_labels_keep_their_values_and_type():
    labels = np.zeros((60, 80), dtype=np.int64)
    labels[10:30, 10:30] = 700
    warped = PointsCropTransform((20, 20), 40.0, 64).apply_segmentation(labels)
    assert warped.dtype == np.int64 and set(np.unique(warped)) == {0, 700}


def test_windows_are_drawn_as_published():
    np.random.seed(0)  # noqa: NPY002
    image = np.zeros((300, 600, 3), dtype=np.uint8)
    drawn = [PointsCrop(512).get_transform(image) for _ in range(400)]
    scales = sorted({round(t.side / 600, 4) for t in drawn})
    assert scales == [0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3]
    # 300 - 128 > 128: the border is 128 both ways
    x, y = np.array([t.center for t in drawn]).T
    assert (x.min(), x.max()) == (128, 471) or (x.min() >= 128 and x.max() < 472)
    assert y.min() == 128 and y.max() == 171
    assert 150 < sum(t.mirror for t in drawn) < 250
    never = [PointsCrop(512, mirror=False).get_transform(image) for _ in range(20)]
    assert not any(t.mirror for t in never)


def test_boxes_and_polygons_follow():
    transform = T.TransformList([PointsCropTransform((40, 30), 80.0, 160, mirror=True)])
    (box,) = transform.apply_box(np.array([[10.0, 10, 30, 20]]))
    np.testing.assert_allclose(box, [100, 40, 140, 60])
