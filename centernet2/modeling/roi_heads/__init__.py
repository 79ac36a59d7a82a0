"""The second stage: RoI heads that refine proposals."""

from .box_predictor import CenterNetOutputLayers
from .heads import CenterNetCascadeROIHeads, CenterNetROIHeads

__all__ = ["CenterNetCascadeROIHeads", "CenterNetOutputLayers", "CenterNetROIHeads"]
