"""A detector as one function of one image's pixels, from normalisation to masks.

What a deep-learning framework's exporter records: nothing here depends on values, so that a graph
recorded with one image is right for every other, and of another size too.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from detectron2.layers import shapes_to_tensor
from detectron2.modeling import GeneralizedRCNN
from torch import nn

from centernet2.errors import UserError
from centernet2.export.first_stage import FirstStage
from centernet2.export.points_stage import PointsStage
from centernet2.export.second_stage import SecondStage, clip
from centernet2.modeling.centernet.detector import CenterNetDetector
from centernet2.modeling.centernet.proposals import CenterNet
from centernet2.modeling.points.detector import ObjectsAsPoints

__all__ = ["DetectorGraph"]


class DetectorGraph(nn.Module):
    """Pixels in, boxes, scores, classes and masks out.

    Args:
        model: a trained ``CenterNetDetector``, ``GeneralizedRCNN`` whose proposals are
            CenterNet's, or ``ObjectsAsPoints``; its parameters are shared.
        pixel_order: of the pixels that the model was trained with, "RGB" or "BGR". The graph takes
            RGB.
        least_score: leave out detections below it; None: the model's own threshold alone.
        paste_masks: masks of the image's size instead of the boxes'.

    Raises:
        UserError: the model is of another kind.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        model: nn.Module,
        pixel_order: str = "RGB",
        least_score: float | None = None,
        paste_masks: bool = False,
    ) -> None:
        super().__init__()
        first = _first_stage(model)
        two_stages = isinstance(model, GeneralizedRCNN)
        parts: Any = model  # each kind that got here has those below
        self.backbone = parts.backbone
        self.first = first
        self.second = SecondStage(parts.roi_heads) if two_stages else None
        self.reverse = pixel_order == "BGR"
        self.least_score = least_score
        self.paste_masks = paste_masks
        self.step = max(parts.backbone.size_divisibility, 1)
        self.register_buffer("mean", parts.pixel_mean.detach().clone())
        self.register_buffer("std", parts.pixel_std.detach().clone())

    @property
    def output_names(self) -> list[str]:
        """Name of each output."""
        names = ["boxes", "scores", "labels"]
        return [*names, "masks"] if self.second is not None and self.second.with_masks else names

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """
        Args:
            image: ``(H, W, 3)`` uint8, RGB.

        Returns:
            ``boxes`` ``(N, 4)`` float32: x0, y0, x1, y1 in pixels, within the image (but for
            ``ObjectsAsPoints`` that does not clip), none without area; ``scores``
            ``(N,)`` float32; ``labels`` ``(N,)`` int64; with a mask head ``masks``: ``(N, S, S)``
            float32 probabilities within the boxes, or pasted ``(N, H, W)`` bool. Best first.
        """
        height, width = image.shape[0], image.shape[1]
        pixels = (image.flip(2) if self.reverse else image).permute(2, 0, 1).float()
        if isinstance(self.first, PointsStage):
            features = self.backbone(self._normalised(self.first.canvas(pixels))[None])
            boxes, scores, labels = self.first(features, height, width)
        else:
            pixels = F.pad(
                self._normalised(pixels), (0, -width % self.step, 0, -height % self.step)
            )
            features = self.backbone(pixels[None])
            boxes, scores, labels = self.first(features)
            limits = shapes_to_tensor([width, height, width, height]).float()
            if self.second is None:
                boxes = clip(boxes, limits)
            else:
                boxes, scores, labels = self.second(features, boxes, scores, limits)
        sides = boxes[:, 2:] - boxes[:, :2]
        real = (sides[:, 0] > 0) & (sides[:, 1] > 0)
        if self.least_score is not None:
            real = real & (scores >= self.least_score)
        keep = real.nonzero()[:, 0]
        boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
        if self.second is None or not self.second.with_masks:
            return boxes, scores, labels
        masks = self.second.masks(features, boxes, labels)
        if self.paste_masks:
            masks = _pasted(masks, boxes, image)
        return boxes, scores, labels, masks

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels - self.mean) / self.std


def _first_stage(model: nn.Module) -> FirstStage | PointsStage:
    if isinstance(model, ObjectsAsPoints):
        return PointsStage(model)
    if not isinstance(model, (CenterNetDetector, GeneralizedRCNN)):
        raise UserError(
            f"MODEL.META_ARCHITECTURE {type(model).__name__} cannot be exported: "
            "CenterNetDetector, GeneralizedRCNN and ObjectsAsPoints can"
        )
    if not isinstance(model.proposal_generator, CenterNet):
        name = type(model.proposal_generator).__name__
        raise UserError(f"MODEL.PROPOSAL_GENERATOR.NAME {name} cannot be exported: CenterNet can")
    return FirstStage(model.proposal_generator)


def _pasted(masks: torch.Tensor, boxes: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """``(N, S, S)`` probabilities within boxes as ``(N, H, W)`` bool, as Detectron2 pastes them."""
    across = _positions(image[0, :, 0], boxes[:, 0::2])
    down = _positions(image[:, 0, 0], boxes[:, 1::2])
    rows, columns = torch.zeros_like(across), torch.zeros_like(down)
    grid = torch.stack(
        [across[:, None] + columns[:, :, None], down[:, :, None] + rows[:, None]], -1
    )
    inside: torch.Tensor = F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0] >= 0.5
    return inside


def _positions(line: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """``(N, L)``: where the middle of each pixel of a line lies in boxes' sides, -1 to 1."""
    middle = torch.ones_like(line, dtype=torch.float32).cumsum(0) - 0.5
    low, high = ends[:, :1], ends[:, 1:]
    return (middle - low) / (high - low) * 2 - 1
