"""Backbones, registered with Detectron2 by name."""

from .bifpn import BiFPN
from . import res2net
from .deform_resnet import use_torchvision_deform_conv
from .mobilenetv2 import MobileNetV2
from .resnet_fpn import pyramid

__all__ = ["BiFPN", "MobileNetV2", "pyramid"]
