"""Data sets: their registration with Detectron2, and the embedded one of glyphs."""

from centernet2.data.datasets import register_builtin

__all__ = ["register_builtin"]

register_builtin()
