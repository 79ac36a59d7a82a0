from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from detectron2.data.detection_utils import annotations_to_instances
from detectron2.structures import BoxMode, Instances
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from centernet2.inference.colors import color_of
from centernet2.inference.drawing import (
    draw_comparison,
    draw_instances,
    draw_predictions,
    font_size,
    line_width,
)

NAMES = ["person", "bicycle", "traffic light"]
GREY = 127


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), GREY, dtype=np.uint8)


@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    boxes=hnp.arrays(
        np.float64, st.tuples(st.integers(0, 6), st.just(4)), elements=st.floats(width=32)
    ),
    masked=st.booleans(),
)
def test_any_box_can_be_drawn_on_any_image(
    size: tuple[int, int], boxes: np.ndarray, masked: bool
) -> None:
    number = len(boxes)
    masks = np.random.default_rng(0).random((number, *size)) > 0.5 if masked else None
    image = grey(*size)
    colors = [color_of(i) for i in range(number)]
    drawing = draw_instances(image, boxes, masks, ["object 50%"] * number, colors)
    assert drawing.shape == image.shape
    assert drawing.dtype == np.uint8
    assert (image == GREY).all()  # the caller's image is untouched


def test_box_has_its_colour_on_its_four_sides_and_nothing_inside() -> None:
    color = (250, 10, 20)
    drawing = draw_instances(grey(100, 100), np.array([[20, 30, 80, 90]]), None, [""], [color])
    for y, x in ((30, 50), (90, 50), (60, 20), (60, 80)):
        assert tuple(drawing[y, x]) == color
    assert (drawing[35:85, 25:75] == GREY).all()
    assert (drawing[:25] == GREY).all()


def test_box_on_the_border_of_the_image_is_seen_in_full() -> None:
    image = grey(2000, 3000)
    drawing = draw_instances(image, np.array([[-5, -5, 3005, 2005]]), None, [""], [(255, 0, 0)])
    line = line_width(2000, 3000)
    assert line > 3
    red = (drawing == (255, 0, 0)).all(axis=2)
    assert red[:, 1500].sum() >= 2 * (line - 1)
    assert red[1000].sum() >= 2 * (line - 1)


def test_mask_tints_its_pixels_alone_and_lets_the_image_through() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    mask = np.zeros((1, 60, 80), dtype=bool)
    mask[0, 20:40, 30:60] = True
    drawing = draw_instances(image, np.array([[30, 20, 60, 40]]), mask, [""], [(0, 255, 0)])
    inside = (slice(23, 37), slice(33, 57))
    expected = 0.55 * image[inside] + 0.45 * np.array([0, 255, 0])
    np.testing.assert_allclose(drawing[inside], expected, atol=1)
    outside = np.ones((60, 80), dtype=bool)
    outside[17:44, 27:64] = False
    assert (drawing[outside] == image[outside]).all()


def test_small_object_stays_visible_on_a_large_one() -> None:
    boxes = np.array([[10, 10, 30, 30], [0, 0, 100, 100]])
    masks = np.zeros((2, 100, 100), dtype=bool)
    masks[0, 10:30, 10:30], masks[1] = True, True
    drawing = draw_instances(grey(100, 100), boxes, masks, ["", ""], [(255, 0, 0), (0, 0, 255)])
    assert drawing[20, 20, 0] > drawing[60, 60, 0] + 60


@pytest.mark.parametrize(("height", "width"), [(48, 64), (272, 640), (800, 1333), (4000, 6000)])
def test_labels_and_lines_grow_with_the_image(height: int, width: int) -> None:
    side = (height * width) ** 0.5
    assert font_size(height, width) >= 9
    assert 0.015 * side <= font_size(height, width) <= max(0.045 * side, 9)
    assert 1 <= line_width(height, width) <= max(1, 0.005 * side)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (272, 640), (4000, 6000)])
def test_label_is_a_plate_with_text_on_it(height: int, width: int) -> None:
    color = (250, 200, 20)
    box = np.array([[width * 0.1, height * 0.6, width * 0.9, height * 0.9]])
    drawing = draw_instances(grey(height, width), box, None, ["person 97%"], [color])
    plate = np.argwhere((drawing == color).all(axis=2)).min(axis=0)
    assert plate[0] < height * 0.6 - 8  # the plate begins above the box
    above = drawing[plate[0] : round(height * 0.6) - 1, plate[1] :]
    assert 0.002 < (above == 0).all(axis=2).mean() < 0.5  # black letters


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in number"):
        draw_instances(grey(10, 10), np.zeros((2, 4)), None, ["a"], [(0, 0, 0)] * 2)


def test_colour_is_of_the_class_or_of_the_object_where_there_is_one_class(
    make_instances: Callable[..., Instances],
) -> None:
    found = make_instances((100, 200), [[10, 40, 40, 90], [60, 40, 90, 90], [110, 40, 140, 90]])
    found.pred_classes = torch.tensor([2, 0, 2])
    drawing = draw_predictions(grey(100, 200), found, NAMES)
    colors = [tuple(drawing[60, x].tolist()) for x in (10, 60, 110)]
    assert colors == [color_of(2), color_of(0), color_of(2)]

    found.pred_classes = torch.tensor([0, 0, 0])
    drawing = draw_predictions(grey(100, 200), found, ["person"])
    colors = [tuple(drawing[60, x].tolist()) for x in (10, 60, 110)]
    assert colors == [color_of(0), color_of(1), color_of(2)]

    drawing = draw_predictions(grey(100, 200), found, ["person"], numbers=[7, 3, 7])
    colors = [tuple(drawing[60, x].tolist()) for x in (10, 60, 110)]
    assert colors == [color_of(7), color_of(3), color_of(7)]


def test_class_without_a_name_is_drawn(make_instances: Callable[..., Instances]) -> None:
    found = make_instances((50, 50), [[10, 20, 30, 40]])
    found.pred_classes += 5
    assert (draw_predictions(grey(50, 50), found, NAMES) != GREY).any()


def test_nothing_found_leaves_the_image(make_instances: Callable[..., Instances]) -> None:
    for masks in (True, False):
        found = make_instances((50, 60), [], masks)
        assert (draw_predictions(grey(50, 60), found, NAMES) == GREY).all()


@pytest.mark.parametrize(("size", "stacked"), [((100, 120), False), ((60, 200), True)])
def test_comparison_holds_both_panels(
    size: tuple[int, int], stacked: bool, make_instances: Callable[..., Instances]
) -> None:
    height, width = size
    annotations = [
        {
            "bbox": [5, 20, 20, 30],
            "bbox_mode": BoxMode.XYWH_ABS,
            "category_id": 1,
            "segmentation": [[5, 20, 25, 20, 25, 50, 5, 50]],
        }
    ]
    truth = annotations_to_instances(annotations, size, mask_format="bitmask")
    found = make_instances(size, [[5, 20, 25, 50]], masks=True)
    found.pred_classes[:] = 1
    sheet = draw_comparison(grey(*size), found, truth, NAMES)
    if stacked:
        assert width < sheet.shape[1] < 1.5 * width
        assert sheet.shape[0] > 2 * height
    else:
        assert sheet.shape[1] > 2 * width
        assert height < sheet.shape[0] < 1.6 * height
    tinted = np.rint(0.55 * GREY + 0.45 * np.array(color_of(1)))
    close = (np.abs(sheet.astype(int) - tinted) <= 1).all(axis=2).sum()
    assert close > 2 * 0.5 * 20 * 30  # both panels show the mask
