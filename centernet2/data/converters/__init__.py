"""Data sets in other formats, turned into COCO's."""

from centernet2.data.converters.labelme import convert_labelme
from centernet2.data.converters.voc import convert_voc
from centernet2.data.converters.yolo import convert_yolo

__all__ = ["convert_labelme", "convert_voc", "convert_yolo"]
