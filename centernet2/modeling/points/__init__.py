"""Objects as Points: a box is the peak at its centre, a pose the joints around it."""

from .detector import ObjectsAsPoints
from .head import PointsHead
from .maps import PointMaps

__all__ = ["ObjectsAsPoints", "PointMaps", "PointsHead"]
