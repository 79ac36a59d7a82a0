"""Textured grounds, and clutter that is no object: what the glyphs are painted onto."""

from __future__ import annotations

from typing import Callable

import cv2
import numpy as np

__all__ = ["draw_ground", "random_colour", "smooth_noise"]


def draw_ground(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Paint an empty scene.

    Returns:
        float32 (height, width, 3), RGB from 0 to 255.
    """
    texture = _TEXTURES[rng.integers(len(_TEXTURES))]
    canvas = texture(rng, height, width)
    # Light is uneven everywhere, and tells nothing about objects.
    light = smooth_noise(rng, height, width, cells=3)[..., None]
    canvas = canvas * (1 + rng.uniform(0.05, 0.3) * light)
    for _ in range(rng.integers(0, 5)):
        _draw_blob(rng, canvas)
    for _ in range(rng.integers(0, 6)):
        _draw_line(rng, canvas)
    return np.clip(canvas, 0, 255).astype(np.float32)


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, cells: int, channels: int = 1
) -> np.ndarray:
    """Random values on a coarse grid, interpolated.

    Returns:
        float32 (height, width), or (height, width, channels) for several, about -1 to 1.
    """
    grid = rng.uniform(-1, 1, size=(cells + 1, cells + 1, channels)).astype(np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def random_colour(rng: np.random.Generator) -> np.ndarray:
    """An RGB colour, float32 (3,), spread over hue, saturation and value."""
    hue, saturation, value = rng.uniform(0, 360), rng.beta(1.5, 1.2), rng.beta(1.8, 1.1)
    pixel = np.array([[[hue, saturation, value]]], dtype=np.float32)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0] * 255


def _muted_pair(rng: np.random.Generator, contrast: float) -> tuple[np.ndarray, np.ndarray]:
    """Two related colours: grounds are calmer than objects."""
    base = 0.75 * random_colour(rng) + 0.25 * rng.uniform(40, 220)
    other = base + contrast * (random_colour(rng) - base)
    return base.astype(np.float32), other.astype(np.float32)


def _mix(blend: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Colours between two, by a blend of 0 to 1: (H, W) to (H, W, 3)."""
    return first + blend[..., None] * (second - first)


def _coordinates(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, ...]:
    """Pixel coordinates along two axes at a random angle, each float32 (H, W)."""
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _gradient(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    along, _ = _coordinates(rng, height, width)
    blend = (along - along.min()) / max(float(np.ptp(along)), 1.0)
    return _mix(blend, *_muted_pair(rng, 0.8))


def _clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    coarse = smooth_noise(rng, height, width, int(rng.integers(3, 7)))
    fine = smooth_noise(rng, height, width, int(rng.integers(10, 28)))
    blend = np.clip(0.5 + 0.5 * coarse + 0.2 * fine, 0, 1)
    return _mix(blend, *_muted_pair(rng, 0.7))


def _stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    along, across = _coordinates(rng, height, width)
    period = rng.uniform(10, 60)
    wave = np.sin(2 * np.pi / period * (along + rng.uniform(0, 6) * np.sin(across / 40)))
    sharpness = rng.choice([0.5, 1.5, 8.0])
    return _mix(np.clip(0.5 + sharpness * wave, 0, 1), *_muted_pair(rng, 0.3))


def _checks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    along, across = _coordinates(rng, height, width)
    cell = rng.uniform(10, 48)
    blend = (np.floor(along / cell) + np.floor(across / cell)) % 2
    return _mix(blend, *_muted_pair(rng, 0.25))


def _cloth(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    along, across = _coordinates(rng, height, width)
    thread = rng.uniform(3, 7)
    weave = np.sin(2 * np.pi * along / thread) * np.sin(2 * np.pi * across / thread)
    noise = smooth_noise(rng, height, width, 24)
    return _mix(np.clip(0.5 + 0.35 * weave + 0.25 * noise, 0, 1), *_muted_pair(rng, 0.35))


def _paper(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    base = np.array([238, 230, 214], dtype=np.float32) * rng.uniform(0.8, 1.05)
    stains = smooth_noise(rng, height, width, int(rng.integers(2, 6)))
    grain = rng.normal(0, rng.uniform(2, 9), size=(height, width)).astype(np.float32)
    return base * (1 + 0.06 * stains[..., None]) + grain[..., None]


def _marble(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    along, _ = _coordinates(rng, height, width)
    warp = 30 * smooth_noise(rng, height, width, 5) + 10 * smooth_noise(rng, height, width, 14)
    veins = 1 - np.abs(np.sin((along + warp) * (np.pi / rng.uniform(40, 110))))
    return _mix(veins**3, *_muted_pair(rng, 0.5))


_TEXTURES: tuple[Callable[[np.random.Generator, int, int], np.ndarray], ...] = (
    _gradient, _clouds, _stripes, _checks, _cloth, _paper, _marble,
)  # fmt: skip


def _draw_blob(rng: np.random.Generator, canvas: np.ndarray) -> None:
    """Blend an irregular spot into the canvas, in place."""
    height, width = canvas.shape[:2]
    side = int(rng.uniform(0.06, 0.35) * min(height, width)) + 4
    top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j].astype(np.float32)
    radius = np.hypot(x, y) + 0.35 * smooth_noise(rng, side, side, 4)
    softness = rng.uniform(0.05, 0.5)
    alpha = np.clip((0.7 - radius) / softness, 0, 1)[..., None] * rng.uniform(0.2, 0.8)
    patch = canvas[top : top + side, left : left + side]
    patch += alpha * (random_colour(rng) - patch)


def _draw_line(rng: np.random.Generator, canvas: np.ndarray) -> None:
    """Draw a curved stroke across the canvas, in place."""
    height, width = canvas.shape[:2]
    ends = rng.uniform(-0.2, 1.2, size=(3, 2)) * (width, height)
    t = np.linspace(0, 1, 24)[:, None]
    curve = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * ends[1] + t**2 * ends[2]
    points = np.rint(curve * 16).astype(np.int32)  # 4 fractional bits
    thickness = int(rng.integers(1, 4))
    stroke = np.zeros((height, width), dtype=np.uint8)
    cv2.polylines(stroke, [points], False, 255, thickness, cv2.LINE_AA, 4)
    alpha = stroke[..., None] * np.float32(rng.uniform(0.3, 0.9) / 255)
    canvas += alpha * (random_colour(rng) - canvas)
