"""Speeds and accuracies that others have published, for a chart's own panel: measured elsewhere."""

from __future__ import annotations

from .points import Point

__all__ = ["PUBLISHED_GROUP", "published_points"]

PUBLISHED_GROUP = "published, COCO, on a Titan X"
_SOURCE = "blog post State of Deep Learning for Object Detection, after TensorFlow's model zoo"
_SCALED = "the same post, after Ultralytics: a V100's time divided by 1.6"

# Name, box AP, images a second, as printed there
_TENSORFLOW = """
CenterNet HourGlass104 512x512                | 41.9 | 14.29
CenterNet HourGlass104 Keypoints 512x512      | 40.0 | 13.16
CenterNet HourGlass104 1024x1024              | 44.5 | 5.08
CenterNet HourGlass104 Keypoints 1024x1024    | 42.8 | 4.74
CenterNet Resnet50 V1 FPN 512x512             | 31.2 | 37.04
CenterNet Resnet50 V1 FPN Keypoints 512x512   | 29.3 | 33.33
CenterNet Resnet101 V1 FPN 512x512            | 34.2 | 29.41
CenterNet Resnet50 V2 512x512                 | 29.5 | 37.04
CenterNet Resnet50 V2 Keypoints 512x512       | 27.6 | 33.33
CenterNet MobileNetV2 FPN 512x512             | 23.4 | 166.67
SSD MobileNet v2 320x320                      | 20.2 | 52.63
SSD MobileNet V1 FPN 640x640                  | 29.1 | 20.83
SSD MobileNet V2 FPNLite 320x320              | 22.2 | 45.45
SSD MobileNet V2 FPNLite 640x640              | 28.2 | 25.64
SSD ResNet50 V1 FPN 640x640                   | 34.3 | 21.74
SSD ResNet50 V1 FPN 1024x1024                 | 38.3 | 11.49
SSD ResNet101 V1 FPN 640x640                  | 35.6 | 17.54
SSD ResNet101 V1 FPN 1024x1024                | 39.5 | 9.62
SSD ResNet152 V1 FPN 640x640                  | 35.4 | 12.50
SSD ResNet152 V1 FPN 1024x1024                | 39.6 | 9.01
EfficientDet D0 512x512                       | 33.6 | 25.64
EfficientDet D1 640x640                       | 38.4 | 18.52
EfficientDet D2 768x768                       | 41.8 | 14.93
EfficientDet D3 896x896                       | 45.4 | 10.53
EfficientDet D4 1024x1024                     | 48.5 | 7.52
EfficientDet D5 1280x1280                     | 49.7 | 4.50
EfficientDet D6 1280x1280                     | 50.5 | 3.73
EfficientDet D7 1536x1536                     | 51.2 | 3.08
Faster R-CNN ResNet50 V1 640x640              | 29.3 | 18.87
Faster R-CNN ResNet50 V1 1024x1024            | 31.0 | 15.38
Faster R-CNN ResNet50 V1 800x1333             | 31.6 | 15.38
Faster R-CNN ResNet101 V1 640x640             | 31.8 | 18.18
Faster R-CNN ResNet101 V1 1024x1024           | 37.1 | 13.89
Faster R-CNN ResNet101 V1 800x1333            | 36.6 | 12.99
Faster R-CNN ResNet152 V1 640x640             | 32.4 | 15.63
Faster R-CNN ResNet152 V1 1024x1024           | 37.6 | 11.76
Faster R-CNN ResNet152 V1 800x1333            | 37.4 | 9.90
Faster R-CNN Inception ResNet V2 640x640      | 37.7 | 4.85
Faster R-CNN Inception ResNet V2 1024x1024    | 38.7 | 4.24
"""
# Yolov5l is left out: its AP is printed as that of Yolov5s
_ULTRALYTICS = """
Yolov5s 640x640 | 36.8 | 273
Yolov5m 640x640 | 44.5 | 207
Yolov5x 640x640 | 50.1 | 24
"""
# CenterNet MobileNetV2 FPN Keypoints is left out: its one figure stands for boxes and keypoints


def published_points() -> list[Point]:
    """All of them; images a second on a GPU of 2016, which compare with no figure of ours."""
    return [
        Point(name.strip(), PUBLISHED_GROUP, float(fps), float(ap), about=source)
        for table, source in ((_TENSORFLOW, _SOURCE), (_ULTRALYTICS, _SCALED))
        for name, ap, fps in (line.split("|") for line in table.strip().splitlines())
    ]
