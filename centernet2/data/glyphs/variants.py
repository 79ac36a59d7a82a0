"""The settings that define a glyph data set, and the registered ones."""

from __future__ import annotations

import dataclasses
from typing import Any

__all__ = ["MAX_CATEGORIES", "SPLITS", "VARIANTS", "GlyphConfig"]

MAX_CATEGORIES = 1203
SPLITS = ("train", "val")
_FREQUENCIES = ("uniform", "long_tailed")
_VAL_FREQUENCIES = ("same", "uniform")
_STYLES = ("coco", "lvis")


@dataclasses.dataclass(frozen=True)
class GlyphConfig:
    """What a glyph data set holds; equal settings always give the same images and labels.

    Raises:
        ValueError: a setting is out of range; the message names it and its limits.
    """

    name: str
    """Folder of the data set, and the stem of its registered names."""
    num_categories: int = 80
    """Categories, 1 to 1,203: the first ones of the catalogue."""
    num_train: int = 3000
    """Training images."""
    num_val: int = 300
    """Validation images."""
    image_size: tuple[int, int] = (320, 480)
    """Least and greatest side of an image, in pixels; height and width vary independently."""
    objects_per_image: tuple[int, int] = (2, 14)
    """Least and greatest number of glyphs in an image; crowded scenes may hold fewer."""
    object_size: tuple[int, int] = (8, 300)
    """Least and greatest longer side of an unrotated glyph, in pixels; log-uniform."""
    frequencies: str = "uniform"
    """``uniform``, or ``long_tailed``: geometric over three decades."""
    val_frequencies: str = "same"
    """``same`` as in training, or ``uniform``: a rare category is then met often enough in a small
    validation set for its AP to be measured."""
    style: str = "coco"
    """``coco``: everything labelled. ``lvis``: LVIS v1 files with federated labels."""
    seed: int = 0
    """Everything random follows from it."""

    def __post_init__(self) -> None:
        _require_integer("num_categories", self.num_categories, 1, MAX_CATEGORIES)
        _require_integer("num_train", self.num_train, 1)
        _require_integer("num_val", self.num_val, 1)
        _require_integer("seed", self.seed, 0)
        _require_range("image_size", self.image_size, 64, 4096)
        _require_range("objects_per_image", self.objects_per_image, 1, 200)
        _require_range("object_size", self.object_size, 8, 1024)
        _require_choice("frequencies", self.frequencies, _FREQUENCIES)
        _require_choice("val_frequencies", self.val_frequencies, _VAL_FREQUENCIES)
        _require_choice("style", self.style, _STYLES)
        if not self.name or not self.name.replace("_", "").replace("-", "").isalnum():
            raise ValueError(
                f"name must be made of letters, digits, '-' and '_', but is {self.name!r}"
            )
        if self.object_size[0] > 0.8 * self.image_size[0]:
            raise ValueError(
                f"object_size begins at {self.object_size[0]} pixels, which does not fit into "
                f"images of {self.image_size[0]}: lower it or raise image_size"
            )

    def num_images(self, split: str) -> int:
        """Images of ``train`` or ``val``."""
        return {"train": self.num_train, "val": self.num_val}[split]

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON-ready values; :meth:`from_dict` reads them back."""
        values = dataclasses.asdict(self)
        if self.val_frequencies == "same":
            del values["val_frequencies"]  # data sets from before this setting stay valid
        return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GlyphConfig:
        """Build a config from :meth:`to_dict`'s result.

        Raises:
            ValueError: an unknown or missing setting, or a value out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown setting {unknown[0]!r}; the settings are {sorted(known)}")
        if "name" not in values:
            raise ValueError("the setting 'name' is missing")
        settings: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**settings)


def _require_integer(name: str, value: object, low: int, high: int | None = None) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):  # type: ignore[operator]
        limits = f"{low} to {high:,}" if high is not None else f"at least {low}"
        raise ValueError(f"{name} must be an integer, {limits}, but is {value!r}")


def _require_range(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, tuple) or len(value) != 2:
        raise ValueError(f"{name} must be a pair (least, greatest), but is {value!r}")
    for bound in value:
        _require_integer(name, bound, low, high)
    if value[0] > value[1]:
        raise ValueError(f"{name} must have its least value first, but is {value!r}")


def _require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, but is {value!r}")


VARIANTS = (
    GlyphConfig(
        name="glyphs_small",
        num_categories=10,
        num_train=600,
        num_val=100,
        image_size=(192, 192),
        objects_per_image=(1, 8),
        object_size=(14, 120),
    ),
    GlyphConfig(name="glyphs_80"),
    GlyphConfig(
        name="glyphs_1203",
        num_categories=MAX_CATEGORIES,
        num_train=6000,
        num_val=600,
        image_size=(320, 512),
        objects_per_image=(3, 16),
        frequencies="long_tailed",
        style="lvis",
    ),
    GlyphConfig(
        name="glyphs_tail",
        num_categories=60,
        num_train=1000,
        num_val=300,
        image_size=(192, 224),
        objects_per_image=(4, 10),
        object_size=(16, 80),
        frequencies="long_tailed",
        val_frequencies="uniform",
        style="lvis",
    ),
)
