"""Backbones, registered with Detectron2 by name."""

from . import bifpn_backbones, dla_fpn
from .bifpn import BiFPN
from .deconv_resnet import DeconvResNet
from .deform_resnet import use_torchvision_deform_conv
from .dla import DLA
from .dla_up import DLAUp, UpsampledDLA
from .fcos_bifpn import FcosBiFPN
from .hourglass import StackedHourglass
from .mobilenetv2 import MobileNetV2
from .res2net import build_res2net_backbone
from .resnet_fpn import pyramid
from .stride4_dla import Stride4DLA
from .stride4_fpn import Stride4FPN

__all__ = [
    "DLA",
    "BiFPN",
    "DLAUp",
    "DeconvResNet",
    "FcosBiFPN",
    "MobileNetV2",
    "StackedHourglass",
    "Stride4DLA",
    "Stride4FPN",
    "UpsampledDLA",
    "bifpn_backbones",
    "build_res2net_backbone",
    "dla_fpn",
    "pyramid",
]

use_torchvision_deform_conv()
