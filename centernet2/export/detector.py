"""An exported file in a model's place."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from torch import nn

from centernet2.errors import UserError
from centernet2.export.fitting import fit_into
from centernet2.export.runtimes import ExportedFile

__all__ = ["ExportedDetector"]


class ExportedDetector(nn.Module):
    """Takes and returns what Detectron2's models do, one image after the other.

    A file of a fixed size gets each image resized into it, so the images had better come in their
    own size.

    Args:
        file: the exported model.
        pixel_order: "RGB" or "BGR", of the images that it will be given.

    Raises:
        UserError: the file's masks are of the image's size, and so of a size that is not wanted.
    """

    def __init__(self, file: ExportedFile, pixel_order: str) -> None:
        super().__init__()
        if file.info.masks == "image":
            raise UserError(
                "this file's masks have the size of its input, not of the images: export the model "
                "without --paste-masks"
            )
        self._file = file
        self._order = pixel_order

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """
        Args:
            batched_inputs: ``image`` ``(3, H, W)``, optionally ``height`` and ``width`` of the
                output.

        Returns:
            One ``{"instances": Instances}`` an image.
        """
        return [{"instances": self._detect(given)} for given in batched_inputs]

    def _detect(self, given: dict[str, Any]) -> Instances:
        pixels = given["image"].permute(1, 2, 0).to(torch.uint8).numpy()
        if self._order == "BGR":
            pixels = pixels[:, :, ::-1]
        size = pixels.shape[:2]
        height, width = given.get("height", size[0]), given.get("width", size[1])
        info = self._file.info
        if info.size is not None:
            pixels, size = fit_into(pixels, info.size, info.padding)
        outputs = {
            name: torch.from_numpy(value) for name, value in self._file(pixels.copy()).items()
        }
        found = Instances(size)
        found.pred_boxes = Boxes(outputs["boxes"])
        found.scores = outputs["scores"]
        found.pred_classes = outputs["labels"]
        if "masks" in outputs:
            found.pred_masks = outputs["masks"][:, None]
        placed: Instances = detector_postprocess(found, height, width)
        return placed
