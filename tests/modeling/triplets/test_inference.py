"""Whole inference on a network that knows where bright rectangles lie: positions must come back.

The network is a plain program: it looks for the rectangle in the pixels that it is shown and says
so in its maps. Whatever resizing, padding, mirroring and mapping back do, the rectangle's place in
the original image is known.
"""

from __future__ import annotations

import math

import pytest
import torch

from centernet2.modeling.triplets.inference import InferenceSettings, detect
from centernet2.modeling.triplets.maps import TripletMaps

LOW = -20.0


class RectangleNetwork:
    """Marks corners and centre of the bright rectangle, in class 1 of 2."""

    def __init__(self, centers=True, miss_center_in=()):
        self.centers = centers
        self.miss_center_in = miss_center_in
        self.sizes = []

    def __call__(self, pixels):
        number, _, height, width = pixels.shape
        self.sizes.append((height, width))
        grid = (height + 1) // 4, (width + 1) // 4
        heats = [torch.full((number, 2, *grid), LOW) for _ in range(3)]
        offsets = [torch.zeros(number, 2, *grid) for _ in range(3)]
        # Cells without a corner make no pairs
        tags = [torch.full((number, 1, *grid), value) for value in (-9.0, 9.0)]
        for i, image in enumerate(pixels):
            rows, columns = (image[0] > 128).nonzero().unbind(dim=1)
            low = columns.min().item(), rows.min().item()
            high = columns.max().item() + 1, rows.max().item() + 1
            middle = (low[0] + high[0]) / 2, (low[1] + high[1]) / 2
            for k, point in enumerate((low, high, middle)):
                if k == 2 and i in self.miss_center_in:
                    continue
                x, y = point[0] * grid[1] / width, point[1] * grid[0] / height
                heats[k][i, 1, int(y), int(x)] = 2.0 + k - i / 2
                offsets[k][i, :, int(y), int(x)] = torch.tensor([x % 1, y % 1])
                if k < 2:
                    tags[k][i, 0, int(y), int(x)] = 1.0
        maps = (heats[0], heats[1], *tags, offsets[0], offsets[1])
        return TripletMaps(*maps, *((heats[2], offsets[2]) if self.centers else ()))


def picture(height, width, box):
    image = torch.zeros(3, height, width)
    image[:, box[1] : box[3], box[0] : box[2]] = 255
    return image


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("centers", [True, False])
@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize(("height", "width"), [(100, 130), (127, 255), (128, 201)])
def test_a_rectangle_is_found_where_it_is(height, width, mirror, centers):
    box = (21, 33, 90, 77)
    settings = InferenceSettings(mirror=mirror, round_results=False)
    found = detect(picture(height, width, box), RectangleNetwork(centers), 128, settings)
    assert found.classes[0] == 1
    expected = torch.tensor(box).float()
    torch.testing.assert_close(found.boxes[0], expected, rtol=0, atol=1e-3)
    scores = [sigmoid(2.0), sigmoid(3.0), sigmoid(4.0)][: 3 if centers else 2]
    assert found.scores[0].item() == pytest.approx(sum(scores) / len(scores), abs=1e-6)
    # The mirror image finds it a second time, which the suppression nearly erases
    good = found.scores > 0.2
    assert good.sum() == 1


@pytest.mark.parametrize("scales", [(0.6, 1.0, 1.2, 1.5, 1.8), (1.0, 0.5)])
def test_all_scales_agree(scales):
    box = (40, 30, 110, 90)
    network = RectangleNetwork()
    settings = InferenceSettings(scales=scales, round_results=False)
    found = detect(picture(120, 150, box), network, 128, settings)
    expected = [(int(120 * s) | 127, int(150 * s) | 127) for s in scales]
    assert network.sizes == expected
    # Edges of the resized rectangle are whole pixels of the resized image
    torch.testing.assert_close(found.boxes[0], torch.tensor(box).float(), rtol=0, atol=2.1)
    assert (found.scores > 0.2).sum() == 1


def test_centres_of_the_mirror_image_confirm_too():
    box = (40, 30, 110, 90)
    settings = InferenceSettings(round_results=False)
    found = detect(picture(120, 150, box), RectangleNetwork(miss_center_in=(0,)), 128, settings)
    scores = sigmoid(2.0), sigmoid(3.0), sigmoid(4.0 - 0.5)
    assert found.scores[0].item() == pytest.approx(sum(scores) / 3, abs=1e-6)
    nothing = detect(picture(120, 150, box), RectangleNetwork(miss_center_in=(0, 1)), 128, settings)
    assert len(nothing.scores) == 0


def test_options_of_the_output():
    box = (40, 30, 110, 90)
    image = picture(120, 150, box)
    both = detect(image, RectangleNetwork(False), 128, InferenceSettings(round_results=False))
    rounded = detect(image, RectangleNetwork(False), 128, InferenceSettings())
    assert torch.equal(rounded.scores, (both.scores * 100).round() / 100)
    assert not torch.equal(rounded.scores, both.scores)
    least = InferenceSettings(score_threshold=0.5)
    assert len(detect(image, RectangleNetwork(False), 128, least).scores) == 1
    assert len(both.scores) > 1
