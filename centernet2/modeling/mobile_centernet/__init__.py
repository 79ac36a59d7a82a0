"""The small detector of everyday objects: centres on one map, four distances to a box's sides."""

from .detector import MobileCenterNet

__all__ = ["MobileCenterNet"]
