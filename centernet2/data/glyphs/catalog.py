"""The catalogue of categories: 1,203 glyphs that stay distinct under rotation and reflection."""

from __future__ import annotations

import dataclasses
import unicodedata

from centernet2.data.glyphs.characters import CHARACTERS

__all__ = ["Category", "categories", "category_names"]


@dataclasses.dataclass(frozen=True)
class Category:
    """A glyph as a category: ``id`` counts from 1, as COCO's and LVIS's ids do."""

    id: int
    name: str
    character: str


def categories(count: int) -> list[Category]:
    """The first ``count`` categories; those that are easiest to name come first.

    Raises:
        ValueError: ``count`` is not from 1 to 1,203.
    """
    if not 1 <= count <= len(CHARACTERS):
        raise ValueError(f"there are 1 to {len(CHARACTERS):,} categories, not {count}")
    return [
        Category(index, unicodedata.name(character).lower(), character)
        for index, character in enumerate(CHARACTERS[:count], start=1)
    ]


def category_names(count: int) -> list[str]:
    """Names of the first ``count`` categories, in the order of their ids."""
    return [category.name for category in categories(count)]
