from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from centernet2.data.glyphs.formats import class_image_count, coco_file, label_scene, lvis_file
from centernet2.data.glyphs.plan import ImagePlan, PlannedObject, plan_split
from centernet2.data.glyphs.variants import VARIANTS, GlyphConfig
from centernet2.data.glyphs.writer import render_image

SMALL, MEDIUM, LARGE, _ = VARIANTS
THREE = GlyphConfig(name="three", num_categories=3, style="lvis")


def records(config, split, count):
    result = []
    for index, plan in enumerate(plan_split(config, split)[:count]):
        scene = render_image(config, split, index, plan)
        result.append(label_scene(f"{index}.jpg", scene.image.shape, plan, scene.masks))
    return result


@pytest.mark.parametrize("variant", [SMALL, LARGE], ids=lambda variant: variant.name)
def test_labels_are_exactly_the_rendered_masks(variant):
    checked = 0
    for index, plan in enumerate(plan_split(variant, "val")[:8]):
        scene = render_image(variant, "val", index, plan)
        labels = label_scene("a.jpg", scene.image.shape, plan, scene.masks).annotations
        masks = [mask for i, mask in scene.masks.items() if plan.objects[i].labelled]
        assert len(labels) == len(masks)
        for label, mask in zip(labels, masks):
            parts = coco_mask.frPyObjects(
                [list(map(float, polygon)) for polygon in label["segmentation"]], *mask.shape
            )
            rle = coco_mask.merge(parts)
            assert (coco_mask.decode(rle) == mask).all()
            assert coco_mask.toBbox(rle).tolist() == label["bbox"]
            assert label["area"] == mask.sum()
            checked += 1
    assert checked > 20


def block(top, left, height, width):
    mask = np.zeros((30, 40), dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_boxes_are_tight():
    plan = ImagePlan((PlannedObject(4),))
    (label,) = label_scene("a.jpg", (30, 40, 3), plan, {0: block(3, 5, 7, 11)}).annotations
    assert label["bbox"] == [5, 3, 11, 7]
    assert label["category_id"] == 5
    assert label["area"] == 77


def test_what_is_not_labelled_is_left_out():
    plan = ImagePlan(
        (PlannedObject(0), PlannedObject(1), PlannedObject(1, labelled=False), PlannedObject(2)),
        negatives=(7,),
        not_exhaustive=(1, 2),
    )
    masks = {0: block(0, 0, 5, 5), 1: block(0, 10, 5, 5), 2: block(10, 0, 5, 5)}
    record = label_scene("a.jpg", (30, 40, 3), plan, masks)  # the fourth found no room
    assert [label["category_id"] for label in record.annotations] == [1, 2]
    assert record.negatives == [8]
    assert record.not_exhaustive == [2]


def three_records(counts):
    """One image with an object of each category for as many images as ``counts`` says."""
    result = []
    for index in range(max(counts)):
        shown = [category for category, count in enumerate(counts) if index < count]
        plan = ImagePlan(tuple(PlannedObject(category) for category in shown))
        masks = {i: block(0, 8 * i, 5, 5) for i in range(len(shown))}
        result.append(label_scene(f"{index}.jpg", (30, 40, 3), plan, masks))
    return result


@pytest.mark.parametrize(
    ("images", "frequency"), [(0, "r"), (10, "r"), (11, "c"), (100, "c"), (101, "f")]
)
def test_frequencies_are_those_of_lvis(images, frequency):
    content = lvis_file(THREE, "train", [], 1, three_records([images, 1, 1]))
    category = content["categories"][0]
    assert (category["frequency"], category["image_count"]) == (frequency, images)
    assert category["instance_count"] == images


def test_statistics_are_those_of_the_training_images():
    training, validation = three_records([9, 4, 2]), three_records([1, 1, 1])
    content = lvis_file(THREE, "val", validation, 10, training)
    assert [category["image_count"] for category in content["categories"]] == [9, 4, 2]
    assert [image["id"] for image in content["images"]] == [10]
    assert len(content["annotations"]) == 3
    assert class_image_count(THREE, training) == [
        {"id": 1, "image_count": 9},
        {"id": 2, "image_count": 4},
        {"id": 3, "image_count": 2},
    ]


def test_an_object_counts_once_per_image_but_as_an_instance_each_time():
    plan = ImagePlan((PlannedObject(0), PlannedObject(0)))
    masks = {0: block(0, 0, 5, 5), 1: block(0, 8, 5, 5)}
    record = label_scene("a.jpg", (30, 40, 3), plan, masks)
    category = lvis_file(THREE, "train", [record], 1, [record])["categories"][0]
    assert (category["image_count"], category["instance_count"]) == (1, 2)


def test_ids_and_names_are_unique():
    config = dataclasses.replace(SMALL, num_train=12)
    content = coco_file(config, records(config, "train", 12), 5)
    for entries in content["images"], content["annotations"], content["categories"]:
        assert len({entry["id"] for entry in entries}) == len(entries)
    names = [category["name"] for category in content["categories"]]
    assert len(set(names)) == 10
    assert {a["image_id"] for a in content["annotations"]} <= {i["id"] for i in content["images"]}
    assert all(annotation["iscrowd"] == 0 for annotation in content["annotations"])


@pytest.mark.slow
def test_every_category_of_the_80_is_labelled_in_its_validation_images():
    images = Counter()
    for index, plan in enumerate(plan_split(MEDIUM, "val")):
        scene = render_image(MEDIUM, "val", index, plan)
        record = label_scene(f"{index}.jpg", scene.image.shape, plan, scene.masks)
        images.update({label["category_id"] for label in record.annotations})
        if all(images[category] >= 5 for category in range(1, 81)):
            return  # the images that are left can only add to them
    pytest.fail(f"in fewer than 5 images: {[c for c in range(1, 81) if images[c] < 5]}")


@pytest.mark.slow
def test_next_to_no_planned_object_is_lost():
    config = dataclasses.replace(LARGE, num_train=100)
    planned = sum(p.labelled for plan in plan_split(config, "train") for p in plan.objects)
    labelled = sum(len(record.annotations) for record in records(config, "train", 100))
    assert labelled > 0.99 * planned
