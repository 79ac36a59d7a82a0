"""Backbones, CenterNet, keypoint triplets and RoI heads; importing registers them."""

from . import backbones, centernet, mobile_centernet, roi_heads, triplets

__all__ = ["backbones", "centernet", "mobile_centernet", "roi_heads", "triplets"]
