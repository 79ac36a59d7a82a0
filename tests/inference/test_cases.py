from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

from centernet2.errors import UserError
from centernet2.inference.cases import draw_case

IMAGE = {"id": 1, "width": 400, "height": 360}
NAMES = {7: "cat", 3: "dog"}


@pytest.fixture
def grey(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (400, 360), (90, 90, 90)).save(path)
    return path


def found(**more):
    return {"category_id": 7, "bbox": [50, 100, 100, 200], "score": 0.9, **more}


def thing(**more):
    return {"category_id": 3, "bbox": [250, 100, 100, 200], **more}


def painted(picture, box):
    """The part of a picture's pixels in x0, y0, x1, y1 that are not grey any more."""
    x0, y0, x1, y1 = box
    return (np.ptp(picture[y0:y1, x0:x1].astype(int), axis=2) > 20).mean()


def test_detections_and_objects_stand_side_by_side(grey):
    picture = draw_case(grey, IMAGE, [found()], [thing()], NAMES)
    height, width = picture.shape[:2]
    assert width > 800 and height > 360
    top, half = height - 360, width // 2
    left, right = picture[top:, :half], picture[top:, half:]
    assert painted(left, (30, 80, 170, 310)) > 0.02 > painted(left, (230, 80, 380, 310))
    assert painted(right, (240, 80, 370, 310)) > 0.02 > painted(right, (30, 80, 170, 310))


def test_masks_are_drawn_where_all_have_one(grey):
    code = mask_api.encode(np.asfortranarray(np.ones((360, 400), dtype=np.uint8)))
    mask = {"size": [360, 400], "counts": code["counts"].decode()}
    polygon = [[250, 100, 350, 100, 350, 300, 250, 300]]
    both = [found(segmentation=mask)], [thing(segmentation=polygon)]
    filled = draw_case(grey, IMAGE, *both, NAMES)
    assert painted(filled, (160, 320, 380, 370)) > 0.9  # outside the box, inside the mask
    plain = draw_case(grey, IMAGE, both[0], [thing()], NAMES)
    assert painted(plain, (160, 320, 380, 370)) < 0.1
    runs = {"size": [360, 400], "counts": [0, 360 * 400]}
    listed = draw_case(grey, IMAGE, [found(segmentation=runs)], both[1], NAMES)
    assert (listed == filled).all()


def test_nothing_there_and_nothing_found(grey):
    assert draw_case(grey, IMAGE, [], [], NAMES).shape[1] > 800


def test_an_image_of_another_size_or_none_is_named(grey, tmp_path):
    with pytest.raises(UserError, match=r"a\.png: 400 x 360 pixels, but .* 360 x 400"):
        draw_case(grey, {"id": 1, "width": 360, "height": 400}, [], [], NAMES)
    with pytest.raises(UserError, match=r"b\.png: No such file"):
        draw_case(tmp_path / "b.png", IMAGE, [], [], NAMES)
