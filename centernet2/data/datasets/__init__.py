"""Registration of data sets with Detectron2."""

from centernet2.data.datasets.builtin import register_builtin
from centernet2.data.datasets.coco_format import datasets_root, register_coco_format
from centernet2.data.datasets.custom import register_custom
from centernet2.data.datasets.glyphs import register_glyphs
from centernet2.data.datasets.lvis_format import register_lvis_format

__all__ = [
    "datasets_root",
    "register_builtin",
    "register_coco_format",
    "register_custom",
    "register_glyphs",
    "register_lvis_format",
]
