"""Backbones, registered with Detectron2 by name."""

from .mobilenetv2 import MobileNetV2
from .resnet_fpn import pyramid

__all__ = ["MobileNetV2", "pyramid"]
