"""The formats, and the endings of their files."""

from __future__ import annotations

from pathlib import Path

__all__ = ["SUFFIXES", "format_of"]

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torchscript": ".ts"}


def format_of(path: Path) -> str | None:
    """The format that a file's ending stands for; None: none."""
    return {suffix: name for name, suffix in SUFFIXES.items()}.get(path.suffix.lower())
