"""Padding of test images against the published windows, resizing against OpenCV's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from centernet2.modeling.triplets.views import pad_batch, resized_view


def published_canvas(image, multiple):
    """Copy the window that the published crop computes from centres and halves."""
    height, width = image.shape[:2]
    full_height, full_width = height | (multiple - 1), width | (multiple - 1)
    canvas = np.zeros((full_height, full_width, 3), image.dtype)
    cy, cx = height // 2, width // 2
    y0, y1 = max(0, cy - full_height // 2), min(cy + full_height // 2, height)
    x0, x1 = max(0, cx - full_width // 2), min(cx + full_width // 2, width)
    oy, ox = full_height // 2, full_width // 2
    canvas[oy - (cy - y0) : oy + (y1 - cy), ox - (cx - x0) : ox + (x1 - cx)] = image[y0:y1, x0:x1]
    return canvas


@pytest.mark.parametrize("size", [(100, 127), (127, 127), (128, 129), (255, 254), (1, 511)])
def test_the_canvas_is_the_published_one(size):
    image = np.random.default_rng(0).integers(1, 256, (*size, 3), dtype=np.uint8)
    view = resized_view(torch.from_numpy(image).permute(2, 0, 1).float(), 1.0, 128)
    expected = published_canvas(image, 128)
    assert np.array_equal(view.pixels.permute(1, 2, 0).numpy(), expected)
    rows, columns = (np.flatnonzero(expected.any(axis=(1 - axis, 2))) for axis in (0, 1))
    assert (view.top, view.left) == (rows[0], columns[0])
    assert view.size == size


def test_the_last_row_can_be_kept():
    image = torch.full((3, 127, 255), 9.0)
    kept = resized_view(image, 1.0, 128, lose_last_row=False)
    assert torch.equal(kept.pixels, image) and (kept.top, kept.left) == (0, 0)
    lost = resized_view(image, 1.0, 128).pixels
    assert (lost[:, -1] == 0).all() and (lost[:, :, -1] == 0).all()
    assert torch.equal(lost[:, :-1, :-1], image[:, :-1, :-1])
    assert (image == 9).all(), "the caller's image was changed"


@pytest.mark.parametrize("scale", [0.6, 1.2, 1.5, 1.8])
def test_resizing_is_opencvs_but_for_rounding(scale, shared_data):
    path = next((shared_data / "coco_mini").rglob("*.jpg"))
    image = cv2.imread(str(path))
    height, width = image.shape[:2]
    view = resized_view(torch.from_numpy(image).permute(2, 0, 1).float(), scale, 128)
    size = int(height * scale), int(width * scale)
    assert view.size == size and view.scale == scale
    expected = cv2.resize(image, size[::-1]).astype(float)
    found = view.pixels[:, view.top : view.top + size[0], view.left : view.left + size[1]]
    difference = np.abs(found.permute(1, 2, 0).numpy() - expected)
    lost = [s - (s % 128 == 127) for s in size]
    difference = difference[: lost[0], : lost[1]]
    assert difference.max() <= 1 and difference.mean() < 0.2


def test_a_batch_has_the_least_size_that_holds_all():
    images = [torch.full((3, 511, 400), 1.0), torch.full((3, 100, 511), 2.0)]
    batch = pad_batch(images, 128)
    assert batch.shape == (2, 3, 511, 511)
    for place, image in zip(batch, images):
        height, width = image.shape[1:]
        assert torch.equal(place[:, :height, :width], image)
        assert place[:, height:].sum() == 0 and place[:, :, width:].sum() == 0
    assert pad_batch([torch.zeros(3, 256, 130)], 128).shape == (1, 3, 256, 255)
