"""Backbones, the detectors that are made of points, and RoI heads; importing registers them."""

from . import backbones, centernet, mobile_centernet, points, roi_heads, triplets

__all__ = ["backbones", "centernet", "mobile_centernet", "points", "roi_heads", "triplets"]
