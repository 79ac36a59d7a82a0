"""Render one scene: glyphs on a ground, with the mask of what is visible of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from centernet2.data.glyphs.faces import faces_of, ink, ink_extent
from centernet2.data.glyphs.grounds import draw_ground, random_colour, smooth_noise
from centernet2.data.glyphs.similarity import MAX_ROTATION

__all__ = ["MIN_VISIBLE_PIXELS", "MIN_VISIBLE_SHARE", "Scene", "render_scene"]

# An object keeps at least this much of its area in sight, inside the image and uncovered.
MIN_VISIBLE_SHARE, MIN_VISIBLE_PIXELS = 0.3, 16
_MAX_TRIES = 16  # placements of one object before it is given up
_SUPERSAMPLING = 3


@dataclasses.dataclass(frozen=True)
class Scene:
    """An image with its objects.

    ``image`` is uint8 (H, W, 3), RGB. ``masks`` maps the index of a character in the request to
    the bool (H, W) mask of its visible pixels; characters that found no room are left out.
    """

    image: np.ndarray
    masks: dict[int, np.ndarray]


@dataclasses.dataclass
class _Sprite:
    """A glyph ready to be painted: everything of shape (h, w)."""

    coverage: np.ndarray  # float32, 0 to 1: the object, rim included
    colour: np.ndarray  # float32 (h, w, 3)

    @property
    def mask(self) -> np.ndarray:
        return self.coverage > 0.5


class _Canvas:
    """An image under construction that knows which object owns each pixel."""

    def __init__(self, ground: np.ndarray) -> None:
        self.pixels = ground
        self.size = int(ground.shape[0]), int(ground.shape[1])
        self.owner = np.full(self.size, -1, dtype=np.int16)
        self.areas: dict[int, int] = {}  # of each object, hidden and outside parts included
        self.visible: dict[int, int] = {}

    def has_room(self, mask: np.ndarray, top: int, left: int) -> bool:
        """Whether a mask would leave itself and all objects beneath it well visible."""
        inside, window = self._clip(mask.shape, top, left)
        new = mask[inside]
        if not _is_well_visible(int(new.sum()), int(mask.sum())):
            return False
        covered = self.owner[window][new]
        losses = np.bincount(covered[covered >= 0], minlength=1)
        return all(
            _is_well_visible(self.visible[owner] - int(losses[owner]), self.areas[owner])
            for owner in np.flatnonzero(losses).tolist()
        )

    def paint(self, index: int, sprite: _Sprite, top: int, left: int) -> None:
        mask = sprite.mask
        inside, window = self._clip(mask.shape, top, left)
        alpha = sprite.coverage[inside][..., None]
        self.pixels[window] += alpha * (sprite.colour[inside] - self.pixels[window])
        new = mask[inside]
        for owner, lost in zip(*np.unique(self.owner[window][new], return_counts=True)):
            if owner >= 0:
                self.visible[int(owner)] -= int(lost)
        self.owner[window][new] = index
        self.areas[index], self.visible[index] = int(mask.sum()), int(new.sum())

    def darken(self, alpha: np.ndarray, top: int, left: int) -> None:
        """Cast a shadow of a strength from 0 to 1, (h, w), onto what is there."""
        inside, window = self._clip(alpha.shape, top, left)
        self.pixels[window] *= 1 - alpha[inside][..., None]

    def _clip(
        self, shape: tuple[int, ...], top: int, left: int
    ) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """The part of a patch inside the image, in its own and in the image's coordinates."""
        height, width = self.size
        y0, x0 = max(top, 0), max(left, 0)
        y1 = max(min(top + shape[0], height), y0)
        x1 = max(min(left + shape[1], width), x0)
        inside = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
        return inside, (slice(y0, y1), slice(x0, x1))


def render_scene(
    rng: np.random.Generator,
    characters: Sequence[str],
    image_size: tuple[int, int],
    object_size: tuple[int, int],
) -> Scene:
    """Paint characters, first to last, onto a random ground.

    Args:
        rng: the only source of randomness.
        characters: single characters of the catalogue; later ones may cover earlier ones.
        image_size: least and greatest side, in pixels.
        object_size: least and greatest longer side of an unrotated glyph, in pixels.
    """
    height, width = (int(side) for side in rng.integers(image_size[0], image_size[1] + 1, 2))
    canvas = _Canvas(draw_ground(rng, height, width))
    low, high = object_size[0], max(min(object_size[1], 0.85 * min(height, width)), object_size[0])
    for index, character in enumerate(characters):
        size = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        _place(rng, canvas, index, character, size, low)
    masks = {index: canvas.owner == index for index in canvas.areas}
    return Scene(_expose(rng, canvas.pixels), masks)


def _is_well_visible(visible: int, area: int) -> bool:
    return visible >= max(MIN_VISIBLE_PIXELS, MIN_VISIBLE_SHARE * area)


def _place(
    rng: np.random.Generator,
    canvas: _Canvas,
    index: int,
    character: str,
    size: float,
    least_size: float,
) -> None:
    """Paint a character where there is room for it, smaller with every try, or not at all.

    One that has too little ink to be seen is drawn larger instead.
    """
    height, width = canvas.size
    for _ in range(_MAX_TRIES):
        coverage, fill = _shape(rng, character, size)
        h, w = coverage.shape
        # Up to a third of the object may lie beyond the border.
        top = int(rng.integers(-(h // 3), max(height - h + h // 3, 0) + 1))
        left = int(rng.integers(-(w // 3), max(width - w + w // 3, 0) + 1))
        if canvas.has_room(coverage > 0.5, top, left):
            _cast_shadow(rng, canvas, coverage, top, left)
            around = _mean_colour(canvas, coverage.shape, top, left)
            sprite = _Sprite(coverage, _paint_colours(rng, coverage, fill, around))
            canvas.paint(index, sprite, top, left)
            return
        has_ink = (coverage > 0.5).sum() >= 1.5 * MIN_VISIBLE_PIXELS
        size = max(0.85 * size, least_size) if has_ink else 1.2 * size


def _shape(rng: np.random.Generator, character: str, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw a distorted glyph.

    Returns:
        Coverage of the whole object and of its inside, without the rim that some have: float32
        (h, w), 0 to 1, both the same where there is no rim.
    """
    faces = faces_of(character)
    face = faces[rng.integers(len(faces))]
    fine = size * _SUPERSAMPLING
    em = max(round(fine / ink_extent(face, character)), 4)
    rimmed = size >= 20 and rng.random() < 0.3
    rim = round(rng.uniform(0.025, 0.06) * fine) if rimmed else 0
    inner = np.pad(ink(face, character, em), rim)
    angle = np.deg2rad(rng.uniform(-MAX_ROTATION, MAX_ROTATION))
    stretch, shear = np.exp(rng.uniform(-0.12, 0.12)), rng.uniform(-0.18, 0.18)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotation @ np.array([[stretch, shear], [0, 1 / stretch]])
    fill = _warp(inner, matrix)
    if rim == 0:
        return fill, fill
    # FreeType can stroke outlines too, but leaves gaps where the contours of a glyph overlap.
    distance = cv2.distanceTransform((inner < 128).astype(np.uint8), cv2.DIST_L2, 5)
    grown = (np.clip(rim + 0.5 - distance, 0, 1) * 255).astype(np.uint8)
    return np.maximum(_warp(grown, matrix), fill), fill


def _warp(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply a linear map about the centre and reduce the supersampling, into a fitting frame."""
    h, w = pixels.shape
    corners = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2 @ matrix.T
    step = _SUPERSAMPLING
    width, height = (np.ceil(np.ptp(corners, axis=0) / step) + 2).astype(int)
    centre = np.array([width * step - 1, height * step - 1]) / 2
    shift = centre - matrix @ np.array([(w - 1) / 2, (h - 1) / 2])
    fine = cv2.warpAffine(
        pixels,
        np.column_stack([matrix, shift]),
        (int(width * step), int(height * step)),
        flags=cv2.INTER_LINEAR,
    )
    reduced = cv2.resize(fine, (int(width), int(height)), interpolation=cv2.INTER_AREA)
    return reduced.astype(np.float32) / 255


def _cast_shadow(
    rng: np.random.Generator, canvas: _Canvas, coverage: np.ndarray, top: int, left: int
) -> None:
    """Darken the canvas beside some of the objects."""
    size = max(coverage.shape)
    if rng.random() > 0.4 or size < 16:
        return
    blur = rng.uniform(0.01, 0.05) * size + 0.5
    pad = int(np.ceil(3 * blur))
    shadow = cv2.GaussianBlur(np.pad(coverage, pad), (0, 0), blur) * rng.uniform(0.25, 0.6)
    dy, dx = rng.uniform(0.02, 0.08, 2) * size * rng.choice([-1, 1], 2)
    canvas.darken(shadow, top - pad + round(dy), left - pad + round(dx))


def _mean_colour(canvas: _Canvas, shape: tuple[int, ...], top: int, left: int) -> np.ndarray:
    _, window = canvas._clip(shape, top, left)
    return canvas.pixels[window].reshape(-1, 3).mean(axis=0)


def _contrasting_colour(rng: np.random.Generator, around: np.ndarray) -> np.ndarray:
    """A colour that stands out from another: strongly at times, faintly at others."""
    wanted = rng.uniform(50, 170)
    options = [random_colour(rng) for _ in range(6)]
    # Brightness counts most: edges of equal brightness are hard to see.
    weights = np.array([0.8, 1.2, 0.5], dtype=np.float32)
    distances = [float(np.linalg.norm((option - around) * weights)) for option in options]
    enough = [option for option, d in zip(options, distances) if d >= wanted]
    return enough[0] if enough else options[int(np.argmax(distances))]


def _paint_colours(
    rng: np.random.Generator, coverage: np.ndarray, fill: np.ndarray, around: np.ndarray
) -> np.ndarray:
    """Colours of an object: plain, graded, striped or mottled, and its rim: (h, w, 3)."""
    h, w = coverage.shape
    first = _contrasting_colour(rng, around)
    second = first + rng.uniform(0.2, 0.5) * (_contrasting_colour(rng, around) - first)
    kind = rng.random()
    y, x = np.mgrid[:h, :w].astype(np.float32)
    along = x * np.float32(rng.uniform(-1, 1)) + y * np.float32(rng.uniform(-1, 1))
    if kind < 0.5:
        blend = np.zeros((h, w), dtype=np.float32)
    elif kind < 0.75:
        blend = (along - along.min()) / max(float(np.ptp(along)), 1.0)
    elif kind < 0.87:
        blend = (np.sin(along * (2 * np.pi / max(0.15 * max(h, w), 4))) > 0).astype(np.float32)
    else:
        blend = np.clip(0.5 + smooth_noise(rng, h, w, 6), 0, 1)
    colours = first + blend[..., None] * (second - first)
    if fill is coverage:
        return colours
    rim = np.float32(20 if first.mean() > 120 else 240) * np.ones(3, dtype=np.float32)
    return rim + fill[..., None] * (colours - rim)


def _expose(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    """Take the photograph: focus, exposure and sensor noise, as uint8 (H, W, 3)."""
    if rng.random() < 0.3:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, 0.8))
    pixels = pixels * rng.uniform(0.8, 1.1)
    noise = rng.standard_normal(pixels.shape, dtype=np.float32)
    return np.clip(pixels + noise * rng.uniform(0.5, 7), 0, 255).astype(np.uint8)
