from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO

from centernet2.inference.detections import Detections
from centernet2.inference.sources import Source
from centernet2.web.results import Kept, Look, coco_document, in_words, table


def made(masks: bool = True, frame: int | None = None) -> Detections:
    """A car, a dog, a car; scores 0.9, 0.6, 0.3."""
    boxes = np.array([[1, 2, 11, 8], [5, 5, 9, 9], [0, 0, 3.4, 4]], dtype=np.float32)
    bitmaps = np.zeros((3, 10, 20), dtype=bool)
    for bitmap, (x0, y0, x1, y1) in zip(bitmaps, boxes.astype(int)):
        bitmap[y0:y1, x0:x1] = True
    time = frame / 25 if frame is not None else None
    return Detections(
        boxes,
        np.array([0.9, 0.6, 0.3], dtype=np.float32),
        np.array([0, 1, 0]),
        bitmaps if masks else None,
        (10, 20),
        ("car", "dog"),
        (3, 18),
        Source(Path("a.mp4"), frame, time, np.zeros((10, 20, 3), dtype=np.uint8)),
    )


def test_masks_come_back_as_they_were_and_pixels_are_left_out() -> None:
    kept = Kept.of(made())
    assert kept.found.masks is None
    assert kept.found.source.pixels is None
    np.testing.assert_array_equal(kept.with_masks().masks, made().masks)
    assert Kept.of(made(masks=False)).with_masks().masks is None


def test_threshold_and_classes_choose() -> None:
    kept = Kept.of(made())
    for look, scores in (
        (Look(0.05), [0.9, 0.6, 0.3]),
        (Look(0.5), [0.9, 0.6]),
        (Look(0.05, ("car",)), [0.9, 0.3]),
        (Look(0.5, ("dog", "cat")), [0.6]),
        (Look(0.95), []),
        (Look(0.05, ("cat",)), []),
    ):
        chosen = kept.chosen(look)
        np.testing.assert_allclose(chosen.found.scores, scores)
        expected = made()[np.isin(made().scores, np.float32(scores))]
        np.testing.assert_array_equal(chosen.with_masks().masks, expected.masks)


def test_words_and_rows() -> None:
    assert in_words(made()) == "2 car, 1 dog"
    assert in_words(made()[:0]) == "nothing found"
    assert table(made())[1:] == [
        [2, "dog", 0.6, 5, 5, 4, 4],
        [3, "car", 0.3, 0, 0, 3, 4],
    ]


def test_document_is_a_coco_data_set() -> None:
    frames = [Kept.of(made(frame=number)) for number in (0, 7)]
    document = coco_document([frames[0].chosen(Look(0.5)), frames[1]], Path("/x/a.mp4"))
    data = COCO()
    data.dataset = document
    data.createIndex()
    assert [(i["id"], i["file_name"], i["time"]) for i in document["images"]] == [
        (0, "a.mp4", 0.0),
        (7, "a.mp4", 0.28),
    ]
    assert [a["id"] for a in document["annotations"]] == [1, 2, 3, 4, 5]
    assert document["categories"] == [{"id": 3, "name": "car"}, {"id": 18, "name": "dog"}]
    (dog,) = data.loadAnns(data.getAnnIds(imgIds=[7], catIds=[18]))
    np.testing.assert_array_equal(data.annToMask(dog), made().masks[1])
    assert (dog["bbox"], dog["area"]) == ([5, 5, 4, 4], 16)


def test_document_of_an_image_without_masks_or_findings() -> None:
    found = dataclasses.replace(made(masks=False), source=Source(Path("a.jpg")))
    document = coco_document([Kept.of(found).chosen(Look(0.5))], Path("a.jpg"))
    assert document["images"] == [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}]
    assert [a["bbox"] for a in document["annotations"]] == [[1, 2, 10, 6], [5, 5, 4, 4]]
    assert "segmentation" not in document["annotations"][0]
    empty = coco_document([Kept.of(found[:0])], Path("a.jpg"))
    assert (len(empty["images"]), empty["annotations"]) == (1, [])
