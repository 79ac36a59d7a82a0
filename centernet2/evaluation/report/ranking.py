"""Images by how well a model does on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from centernet2.evaluation.report.matching import HIT, IGNORED, Matches

__all__ = ["ImageScore", "best_and_worst", "score_images"]


@dataclass(frozen=True)
class ImageScore:
    """What detections from a score on got right and wrong in an image."""

    image_id: int
    objects: int
    found: int
    """Objects that a true positive hits."""
    false: int
    """Detections that are errors of any kind."""

    @property
    def missing(self) -> int:
        """Objects without a true positive."""
        return self.objects - self.found

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, in percent."""
        return 200 * self.found / (self.found + self.false + self.objects)


def score_images(matches: Matches, threshold: float) -> list[ImageScore]:
    """Score the images that have objects, or false detections of at least the threshold."""
    count = len(matches.image_ids)
    kept = (matches.score >= threshold) & (matches.kind != IGNORED)
    hit = kept & (matches.kind == HIT)
    columns = zip(
        matches.image_ids,
        np.bincount(matches.object_image, minlength=count).tolist(),
        np.bincount(matches.image[hit], minlength=count).tolist(),
        np.bincount(matches.image[kept & ~hit], minlength=count).tolist(),
    )
    return [ImageScore(*column) for column in columns if column[1] or column[3]]


def best_and_worst(scores: list[ImageScore]) -> tuple[list[ImageScore], list[ImageScore]]:
    """Order the images both ways.

    Returns:
        All by falling F1, of equal ones those with more objects first; and those with errors by
        rising F1, of equal ones those with more errors first.
    """
    best = sorted(scores, key=lambda s: (-s.f1, -s.objects, s.image_id))
    wrong = [s for s in scores if s.false or s.missing]
    worst = sorted(wrong, key=lambda s: (s.f1, -s.false - s.missing, s.image_id))
    return best, worst
