"""Objects as keypoint triplets: CenterNet of 2019 with corners and centre, and CornerNet."""

from .maps import TripletMaps

__all__ = ["TripletMaps"]
