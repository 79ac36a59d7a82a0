"""An embedded data set: glyphs on textured grounds, with exact masks, made on demand."""

from centernet2.data.glyphs.catalog import Category, categories, category_names
from centernet2.data.glyphs.variants import MAX_CATEGORIES, VARIANTS, GlyphConfig
from centernet2.data.glyphs.writer import ensure_written

__all__ = [
    "MAX_CATEGORIES",
    "VARIANTS",
    "Category",
    "GlyphConfig",
    "categories",
    "category_names",
    "ensure_written",
]
