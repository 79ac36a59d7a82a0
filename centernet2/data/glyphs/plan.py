"""Which categories each image shows, and which of them its labels speak of.

A plan is made for a whole split at once, because what it promises concerns the split: every
category occurs, and frequencies follow the chosen law.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from centernet2.data.glyphs.variants import SPLITS, GlyphConfig

__all__ = ["ImagePlan", "PlannedObject", "frequency_weights", "plan_split"]

# Category weights of the long-tailed law span this many powers of ten.
_DECADES = 3.0
# Federated labels: the share of an image's categories without any label, the share of repeated
# ones labelled in part, and the number of categories that are stated to be absent.
_UNLABELLED, _PARTLY_LABELLED, _NUM_NEGATIVES = 0.1, 0.3, 20
# Categories with fewer planned objects than this keep all their labels.
_SPARED = 20


@dataclasses.dataclass(frozen=True)
class PlannedObject:
    """One glyph to place: its category (0-based), and whether the labels mention it."""

    category: int
    labelled: bool = True


@dataclasses.dataclass(frozen=True)
class ImagePlan:
    """The content of one image.

    ``objects`` come rarest category first: the first one placed always finds room.
    ``negatives`` are categories that are stated to be absent, and ``not_exhaustive`` ones whose
    labels are known to be incomplete; both are empty unless labels are federated.
    """

    objects: tuple[PlannedObject, ...]
    negatives: tuple[int, ...] = ()
    not_exhaustive: tuple[int, ...] = ()


def frequency_weights(config: GlyphConfig, split: str = "train") -> np.ndarray:
    """Probability of each category in a split: float64 (num_categories,), of sum 1.

    The order of a long tail is shuffled, so that rare is not the same as hard to recognise.
    """
    count = config.num_categories
    evened = split == "val" and config.val_frequencies == "uniform"
    if config.frequencies == "uniform" or evened:
        return np.full(count, 1 / count)
    weights = 10.0 ** (-_DECADES * np.arange(count) / max(count - 1, 1))
    shuffled = np.random.default_rng([config.seed, len(SPLITS)]).permutation(weights)
    return shuffled / shuffled.sum()


def plan_split(config: GlyphConfig, split: str) -> list[ImagePlan]:
    """Plan every image of a split.

    Every category is planned at least once where the split has room for that many objects.
    """
    rng = np.random.default_rng([config.seed, SPLITS.index(split)])
    low, high = config.objects_per_image
    sizes = rng.integers(low, high + 1, size=config.num_images(split))
    weights = frequency_weights(config, split)
    slots = rng.choice(config.num_categories, size=int(sizes.sum()), p=weights)
    _give_every_category_a_slot(slots, config.num_categories, rng)
    totals = np.bincount(slots, minlength=config.num_categories)
    images = np.split(slots, np.cumsum(sizes)[:-1])
    return [_plan_image(config, image, totals, rng) for image in images]


def _give_every_category_a_slot(slots: np.ndarray, count: int, rng: np.random.Generator) -> None:
    """Hand slots of categories that have several to those that have none, in place."""
    totals = np.bincount(slots, minlength=count)
    missing = iter(rng.permutation(np.flatnonzero(totals == 0)))
    # A slot may be given away as long as its category keeps another one.
    spare = (i for i in rng.permutation(len(slots)) if totals[slots[i]] > 1)
    for category, slot in zip(missing, spare):
        totals[slots[slot]] -= 1
        slots[slot] = category
        totals[category] = 1


def _plan_image(
    config: GlyphConfig, categories: np.ndarray, totals: np.ndarray, rng: np.random.Generator
) -> ImagePlan:
    ordered = sorted((int(c) for c in categories), key=lambda c: (totals[c], c))
    if config.style == "coco":
        return ImagePlan(tuple(PlannedObject(category) for category in ordered))
    left_out: dict[int, int] = {}  # objects of a category that go without a label
    not_exhaustive: list[int] = []
    for category in dict.fromkeys(ordered):
        present = ordered.count(category)
        chance = rng.random()
        if totals[category] < _SPARED:
            continue
        if chance < _UNLABELLED:
            left_out[category] = present
        elif present > 1 and chance < _UNLABELLED + _PARTLY_LABELLED:
            left_out[category] = present - 1
            not_exhaustive.append(category)
    objects: list[PlannedObject] = []
    for category in ordered:
        # The labelled ones are placed first, so that a category keeps the label it is due.
        remaining = sum(planned.category == category for planned in objects)
        due = ordered.count(category) - left_out.get(category, 0)
        objects.append(PlannedObject(category, labelled=remaining < due))
    absent = np.setdiff1d(np.arange(config.num_categories), categories)
    negatives = rng.choice(absent, size=min(_NUM_NEGATIVES, len(absent)), replace=False)
    return ImagePlan(
        tuple(objects), tuple(sorted(map(int, negatives))), tuple(sorted(not_exhaustive))
    )
