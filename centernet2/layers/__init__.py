"""Operators with no notion of a detector."""

from .deform_conv import DeformConv, ModulatedDeformConv, split_offsets
from .distance_box_loss import box_loss_per_location, distance_box_loss
from .heatmap_loss import heatmap_focal_loss, sparse_heatmap_focal_loss
from .roi_align import pyramid_roi_align
from .separable_conv import separable_conv3x3

__all__ = [
    "DeformConv",
    "ModulatedDeformConv",
    "box_loss_per_location",
    "distance_box_loss",
    "heatmap_focal_loss",
    "pyramid_roi_align",
    "separable_conv3x3",
    "sparse_heatmap_focal_loss",
    "split_offsets",
]
