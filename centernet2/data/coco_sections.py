"""The three lists that make a JSON file one of COCO's format."""

from __future__ import annotations

from typing import Any

__all__ = ["SECTIONS", "missing_sections"]

SECTIONS = ("images", "annotations", "categories")


def missing_sections(data: Any) -> list[str]:
    """Names of the lists that the value of a JSON file lacks; empty if it is in COCO's format."""
    if not isinstance(data, dict):
        return list(SECTIONS)
    return [name for name in SECTIONS if not isinstance(data.get(name), list)]
