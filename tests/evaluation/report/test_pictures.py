from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from centernet2.errors import UserError
from centernet2.evaluation.report.matching import match
from centernet2.evaluation.report.pictures import draw_images
from centernet2.evaluation.report.ranking import ImageScore, best_and_worst, score_images

from .scenes import detection, loaded, make_truth


@pytest.fixture
def scene(tmp_path):
    """Image 0: two found; 1: one of two found, one false; 2: empty; 3: false on empty ground."""
    truth = make_truth(
        [
            (0, 0, 0, 0, 9, 9, 0),
            (0, 1, 20, 0, 9, 9, 0),
            (0, 1, 60, 60, 30, 30, 1),
            (1, 0, 0, 0, 9, 9, 0),
            (1, 0, 50, 0, 9, 9, 0),
            (4, 0, 50, 0, 9, 9, 0),
        ],
        images=6,
    )
    found = [
        detection(0, 0, 0, 0, 9, 9, 0.9),
        detection(0, 1, 20, 0, 9, 9, 0.8),
        detection(0, 1, 61, 61, 9, 9, 0.8),
        detection(1, 0, 0, 0, 9, 9, 0.9),
        detection(1, 1, 80, 80, 9, 9, 0.9),
        detection(1, 1, 90, 80, 9, 9, 0.2),
        detection(3, 1, 80, 80, 9, 9, 0.9),
    ]
    return loaded(tmp_path, truth, found)


def test_images_are_scored_by_f1(scene):
    scores = score_images(match(scene), 0.3)
    assert scores == [
        ImageScore(0, objects=2, found=2, false=0),
        ImageScore(1, objects=2, found=1, false=1),
        ImageScore(3, objects=0, found=0, false=1),
        ImageScore(4, objects=1, found=0, false=0),
    ]
    assert [s.f1 for s in scores] == [100, 50, 0, 0]
    assert score_images(match(scene), 0.1)[1].false == 2
    best, worst = best_and_worst(scores)
    assert [s.image_id for s in best] == [0, 1, 4, 3]
    assert [s.image_id for s in worst] == [3, 4, 1]  # image 0 has no errors


def test_more_objects_and_more_errors_come_first():
    scores = [ImageScore(1, 1, 1, 0), ImageScore(2, 9, 9, 0), ImageScore(3, 1, 0, 0)]
    scores.append(ImageScore(4, 5, 0, 2))
    best, worst = best_and_worst(scores)
    assert [s.image_id for s in best] == [2, 1, 4, 3]
    assert [s.image_id for s in worst] == [4, 3]


class Painter:
    """Remembers what it is asked for; some files are broken."""

    def __init__(self, broken=()):
        self.broken, self.asked = broken, []

    def __call__(self, path, image, found, objects, names):
        self.asked.append((path, [d["score"] for d in found], len(objects), names))
        if path.name in self.broken:
            raise UserError(f"{path}: not an image that can be read")
        return np.full((40, 3000, 3), image["id"], dtype=np.uint8)


def drawn(scene, painter, folder, **options):
    matches = match(scene)
    best, _ = best_and_worst(score_images(matches, 0.3))
    settings = {"threshold": 0.3, "count": 2, **options}
    return draw_images(scene, matches, best, folder, painter, **settings)


def test_what_counts_is_drawn(scene, tmp_path):
    painter = Painter()
    images, problems = drawn(scene, painter, tmp_path)
    assert problems == [] and [i.score.image_id for i in images] == [0, 1]
    names = {3: "a", 13: "b"}
    assert painter.asked == [  # neither the crowd and what lies on it, nor the score of 0.2
        (tmp_path / "0.jpg", [0.9, 0.8], 2, names),
        (tmp_path / "1.jpg", [0.9, 0.9], 2, names),
    ]
    picture = Image.open(io.BytesIO(images[1].jpeg))
    assert picture.format == "JPEG" and picture.width == 1100


def test_a_broken_image_makes_room_for_the_next(scene, tmp_path):
    images, problems = drawn(scene, Painter(broken=["0.jpg"]), tmp_path, without={1})
    assert [i.file_name for i in images] == ["4.jpg", "3.jpg"]
    assert problems == [f"{tmp_path / '0.jpg'}: not an image that can be read"]
    del scene.truth["images"][0]["file_name"]
    _, problems = drawn(scene, Painter(), tmp_path)
    assert problems == ["image 0 has no 'file_name' in the annotations"]


def test_after_five_broken_images_no_more_are_tried(tmp_path):
    truth = make_truth([(i, 0, 0, 0, 9, 9, 0) for i in range(8)], images=8)
    painter = Painter(broken=[f"{i}.jpg" for i in range(8)])
    images, problems = drawn(loaded(tmp_path, truth, []), painter, tmp_path)
    assert images == [] and len(problems) == len(painter.asked) == 5
