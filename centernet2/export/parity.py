"""Whether an exported file finds what the model finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.structures import Instances
from torchvision.ops import box_iou

from centernet2.inference.predictor import Predictor

__all__ = ["Parity", "compare", "model_outputs"]

Outputs = dict[str, npt.NDArray[Any]]
_SAME_OBJECT = 0.5  # least IoU of two boxes that are compared


@dataclasses.dataclass(frozen=True)
class Parity:
    """How far two lists of detections lie apart; differences are the greatest of matched pairs.

    Attributes:
        expected: detections of the model.
        found: detections of the exported file.
        matched: pairs of one class whose boxes overlap.
        box: difference of coordinates in pixels.
        score: difference of scores.
        mask: difference of probabilities; of pasted masks, 1 - IoU.
    """

    expected: int
    found: int
    matched: int
    box: float
    score: float
    mask: float

    def within(self, tolerance: float) -> bool:
        """Whether every detection is matched, and no difference greater."""
        complete = self.expected == self.found == self.matched
        return complete and max(self.box, self.score, self.mask) <= tolerance

    @classmethod
    def worst(cls, several: Sequence[Parity]) -> Parity:
        """Of several images: the numbers summed, the differences' greatest."""
        sums = [sum(getattr(p, name) for p in several) for name in ("expected", "found", "matched")]
        most = [max(getattr(p, name) for p in several) for name in ("box", "score", "mask")]
        return cls(*sums, *most)


@torch.inference_mode()
def model_outputs(
    predictor: Predictor, pixels: npt.NDArray[np.uint8], paste_masks: bool = False
) -> Outputs:
    """What the model itself finds on an image, without resizing it.

    Args:
        predictor: the model.
        pixels: ``(H, W, 3)`` RGB.
        paste_masks: masks of the image's size, not of the boxes'.

    Returns:
        As an exported file's.
    """
    ordered = pixels if predictor.cfg.INPUT.FORMAT == "RGB" else pixels[:, :, ::-1]
    inputs = [{"image": torch.from_numpy(ordered.transpose(2, 0, 1).copy())}]
    if isinstance(predictor.model, GeneralizedRCNN) and not paste_masks:
        (found,) = predictor.model.inference(inputs, do_postprocess=False)
    else:
        found = predictor.model(inputs)[0]["instances"]
    # Files leave out what has no area, or the score 0 of cells that only fill up a number
    found = found[found.pred_boxes.nonempty() & (found.scores > 0)]
    if predictor.threshold is not None:
        found = found[found.scores >= predictor.threshold]
    return _arrays(found)


def _arrays(found: Instances) -> Outputs:
    outputs = {
        "boxes": found.pred_boxes.tensor.numpy(),
        "scores": found.scores.numpy(),
        "labels": found.pred_classes.numpy(),
    }
    if found.has("pred_masks"):
        masks = found.pred_masks.numpy()
        outputs["masks"] = masks[:, 0] if masks.ndim == 4 else masks
    return outputs


def compare(expected: Outputs, found: Outputs) -> Parity:
    """Compare detections, each with the one of its class that it overlaps most.

    Args:
        expected: ``boxes``, ``scores``, ``labels`` and perhaps ``masks`` of the model.
        found: of the exported file.
    """
    overlap = box_iou(torch.from_numpy(expected["boxes"]), torch.from_numpy(found["boxes"])).numpy()
    overlap[expected["labels"][:, None] != found["labels"][None]] = -1
    pairs = []
    while overlap.size and overlap.max() >= _SAME_OBJECT:
        row, column = np.unravel_index(overlap.argmax(), overlap.shape)
        overlap[row], overlap[:, column] = -1, -1
        pairs.append((row, column))
    if not pairs:
        return Parity(len(expected["scores"]), len(found["scores"]), 0, 0.0, 0.0, 0.0)
    rows, columns = (list(places) for places in zip(*pairs))

    def greatest(name: str) -> float:
        first, second = expected[name][rows], found[name][columns]
        return float(np.abs(first.astype(np.float64) - second).max())

    mask = 0.0
    if "masks" in expected:
        if expected["masks"].dtype == bool:
            first, second = expected["masks"][rows], found["masks"][columns]
            joined = (first | second).sum(axis=(1, 2)).clip(min=1)
            mask = float(((first ^ second).sum(axis=(1, 2)) / joined).max())
        else:
            mask = greatest("masks")
    return Parity(
        len(expected["scores"]),
        len(found["scores"]),
        len(pairs),
        greatest("boxes"),
        greatest("scores"),
        mask,
    )
