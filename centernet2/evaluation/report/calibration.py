"""How far scores are the probabilities that they look like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Calibration", "calibrate"]


@dataclass
class Calibration:
    """Bins of equal width over scores 0 to 1; NaN where a bin is empty.

    Attributes:
        counts: ``(B,)`` detections in a bin.
        confidence: ``(B,)`` their mean score.
        accuracy: ``(B,)`` the part of them that are true positives.
        error: expected calibration error, the mean of ``|confidence - accuracy|`` over detections.
    """

    counts: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    error: float


def calibrate(
    scores: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_], bins: int = 10
) -> Calibration:
    """Compare scores ``(D,)`` with whether the detections are correct ``(D,)``."""
    where = np.clip((scores * bins).astype(int), 0, bins - 1)
    counts = np.bincount(where, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(where, weights=scores, minlength=bins) / counts
        accuracy = np.bincount(where, weights=correct.astype(float), minlength=bins) / counts
    gaps = np.nan_to_num(np.abs(confidence - accuracy))
    error = float((gaps * counts).sum() / len(scores)) if len(scores) else float("nan")
    return Calibration(counts, confidence, accuracy, error)
