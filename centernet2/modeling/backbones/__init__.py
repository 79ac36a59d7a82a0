"""Backbones, registered with Detectron2 by name."""

from .bifpn import BiFPN
from .deform_resnet import use_torchvision_deform_conv
from .mobilenetv2 import MobileNetV2
from .res2net import build_res2net_backbone
from .resnet_fpn import pyramid

__all__ = ["BiFPN", "MobileNetV2", "build_res2net_backbone", "pyramid"]

use_torchvision_deform_conv()
