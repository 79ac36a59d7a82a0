"""The first stage: FPN CenterNet as a proposal generator and as a one-stage detector."""

from .detector import CenterNetDetector
from .head import CenterNetHead
from .proposals import CenterNet

__all__ = ["CenterNet", "CenterNetDetector", "CenterNetHead"]
