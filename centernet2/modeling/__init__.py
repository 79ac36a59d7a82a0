"""Backbones, CenterNet and RoI heads; importing registers them with Detectron2."""

from . import backbones, centernet, roi_heads

__all__ = ["backbones", "centernet", "roi_heads"]
