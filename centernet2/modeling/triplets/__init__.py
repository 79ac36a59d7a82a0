"""Objects as keypoint triplets: CenterNet of 2019 with corners and centre, and CornerNet."""

from .detector import CenterNetTriplets, CornerNet
from .heads import TripletHeads
from .maps import TripletMaps

__all__ = ["CenterNetTriplets", "CornerNet", "TripletHeads", "TripletMaps"]
