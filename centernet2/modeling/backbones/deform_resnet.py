"""Detectron2's deformable ResNet and ResNeXt on torchvision's operator."""

from __future__ import annotations

from detectron2.modeling.backbone import resnet

from centernet2.layers import DeformConv

__all__ = ["use_torchvision_deform_conv"]


def use_torchvision_deform_conv() -> None:
    """Make ``RESNETS.DEFORM_ON_PER_STAGE`` work without Detectron2's compiled code, and on CPU.

    The deformable block of Detectron2's ResNet takes its convolution from its module when it is
    built. Replaced there, the convolution reaches every builder, Detectron2's own
    (``build_resnet_backbone``, ``build_resnet_fpn_backbone``, ...) included; parameters keep their
    names and the results are those of the compiled operator.
    """
    resnet.DeformConv = DeformConv
    resnet.ModulatedDeformConv = DeformConv
