"""Pictures of a glyph data set: scenes with their boxes, masks and names."""

from __future__ import annotations

import colorsys
import math

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from centernet2.data.glyphs.catalog import category_names
from centernet2.data.glyphs.formats import label_scene
from centernet2.data.glyphs.plan import ImagePlan, plan_split
from centernet2.data.glyphs.variants import GlyphConfig
from centernet2.data.glyphs.writer import render_image

__all__ = ["contact_sheet"]

_GAP = 6  # pixels between tiles


def contact_sheet(config: GlyphConfig, count: int, columns: int = 4) -> Image.Image:
    """Draw the first validation images side by side, each above its labelled copy.

    Args:
        config: the data set; nothing of it needs to be on disk.
        count: images to draw.
        columns: tiles in a row.

    Raises:
        ValueError: ``count`` is not from 1 to the number of validation images.
    """
    if not 1 <= count <= config.num_val:
        raise ValueError(f"can draw 1 to {config.num_val} samples, not {count}")
    plans = plan_split(config, "val")[:count]
    tiles = [_tile(config, index, plan) for index, plan in enumerate(plans)]
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    width = max(tile.width for tile in tiles) + _GAP
    height = max(tile.height for tile in tiles) + _GAP
    sheet = Image.new("RGB", (columns * width - _GAP, rows * height - _GAP), "white")
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % columns * width, index // columns * height))
    return sheet


def _tile(config: GlyphConfig, index: int, plan: ImagePlan) -> Image.Image:
    scene = render_image(config, "val", index, plan)
    record = label_scene("", scene.image.shape, plan, scene.masks)
    labelled = _draw_labels(scene.image, record.annotations, category_names(config.num_categories))
    return Image.fromarray(np.vstack([scene.image, np.full_like(labelled[:2], 255), labelled]))


def _draw_labels(image: np.ndarray, annotations: list[dict], names: list[str]) -> np.ndarray:
    canvas = image.copy()
    colours = [_colour(number) for number in range(len(annotations))]
    for annotation, colour in zip(annotations, colours):
        outlines = [np.reshape(polygon, (-1, 2)) for polygon in annotation["segmentation"]]
        filled = cv2.fillPoly(canvas.copy(), outlines, colour)
        canvas = cv2.addWeighted(canvas, 0.45, filled, 0.55, 0)
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=10)
    for annotation, colour in zip(annotations, colours):
        left, top, width, height = annotation["bbox"]
        draw.rectangle((left, top, left + width - 1, top + height - 1), outline=colour)
    for annotation, colour in zip(annotations, colours):
        name = names[annotation["category_id"] - 1]
        left, top = annotation["bbox"][:2]
        _, _, text_width, text_height = draw.textbbox((0, 0), name, font=font)
        x = min(max(left, 0), max(picture.width - text_width - 2, 0))
        y = top - text_height - 2 if top > text_height else top
        draw.rectangle((x, y, x + text_width + 2, y + text_height + 2), fill=colour)
        draw.text((x + 1, y), name, fill="black", font=font)
    return np.asarray(picture)


def _colour(number: int) -> tuple[int, int, int]:
    """A light colour, far from those of the numbers before it."""
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618 % 1, 0.55, 1.0)
    return int(red * 255), int(green * 255), int(blue * 255)
