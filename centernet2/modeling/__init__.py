"""Backbones, CenterNet, keypoint triplets and RoI heads; importing registers them."""

from . import backbones, centernet, roi_heads, triplets

__all__ = ["backbones", "centernet", "roi_heads", "triplets"]
