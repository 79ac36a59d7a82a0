"""CenterNet as a one-stage detector."""

from __future__ import annotations

from typing import Any

from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone, build_proposal_generator
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import ImageList
from torch import nn

from ..image_model import ImageModel

__all__ = ["CenterNetDetector"]


@META_ARCH_REGISTRY.register()
class CenterNetDetector(ImageModel):
    """Backbone and class-specific CenterNet; its boxes are the detections."""

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        proposal_generator: nn.Module,
        pixel_mean: list[float],
        pixel_std: list[float],
    ) -> None:
        """
        Args:
            backbone: maps ``(B, 3, H, W)`` to a dict of features.
            proposal_generator: a CenterNet in detector mode.
            pixel_mean, pixel_std: statistics of the input channels.
        """
        # Checkpoints of the published one-stage models hold the statistics
        super().__init__(pixel_mean, pixel_std, in_checkpoints=True)
        self.backbone = backbone
        self.proposal_generator = proposal_generator

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, backbone.output_shape()),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """
        Args:
            batched_inputs: Detectron2's standard dicts: ``image`` ``(3, H, W)``, in training
                ``instances``, at test time optionally ``height`` and ``width`` of the output.

        Returns:
            Losses by name in training; else one ``{"instances": Instances}`` an image.
        """
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        if self.training:
            gt_instances = [x["instances"].to(self.device) for x in batched_inputs]
            return self.proposal_generator(images, features, gt_instances)[1]

        detections, _ = self.proposal_generator(images, features)
        results = []
        for found, given, size in zip(detections, batched_inputs, images.image_sizes):
            height, width = given.get("height", size[0]), given.get("width", size[1])
            results.append({"instances": detector_postprocess(found, height, width)})
        return results

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """Normalise the images and pad them to one size."""
        images = [self.normalised(x["image"].to(self.device)) for x in batched_inputs]
        return ImageList.from_tensors(images, self.backbone.size_divisibility)
