"""A backbone that hands out given maps, to test what is built on it."""

from __future__ import annotations

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone


class RawMaps(Backbone):
    """Maps ``dla3`` to ``dla5`` of strides 8, 16, 32, the same whatever the image."""

    def __init__(self, height, width, channels=(24, 48, 40), strides=(8, 16, 32)):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.shapes = {
            f"dla{i + 3}": ShapeSpec(channels=c, stride=s)
            for i, (c, s) in enumerate(zip(channels, strides))
        }
        self.maps = {
            name: torch.randn(
                2, s.channels, -(-height // s.stride), -(-width // s.stride), generator=generator
            )
            for name, s in self.shapes.items()
        }

    def output_shape(self):
        return self.shapes

    def forward(self, x):
        return self.maps
