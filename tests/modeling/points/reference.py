"""Objects as Points in plain float64 loops, written from the method's description alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Array = np.ndarray


def radius(height: float, width: float, overlap: float) -> int:
    """Of a peak: half the side of its square. The roots are wrong on purpose."""
    h, w = math.ceil(height), math.ceil(width)
    coefficients = (
        (1, h + w, h * w * (1 - overlap) / (1 + overlap)),
        (4, 2 * (h + w), (1 - overlap) * h * w),
        (4 * overlap, -2 * overlap * (h + w), (overlap - 1) * h * w),
    )
    roots = [(b + math.sqrt(b * b - 4 * a * c)) / 2 for a, b, c in coefficients]
    return max(0, int(min(roots)))


def draw(heat: Array, x: int, y: int, r: int) -> None:
    """A Gaussian into ``(H, W)``, in place; the larger value stays."""
    sigma = (2 * r + 1) / 6
    for row in range(heat.shape[0]):
        for column in range(heat.shape[1]):
            dx, dy = column - x, row - y
            if abs(dx) <= r and abs(dy) <= r:
                value = math.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma))
                heat[row, column] = max(heat[row, column], value)


def targets(
    boxes: Sequence[Sequence[float]],
    classes: Sequence[int],
    size: tuple[int, int],
    num_classes: int,
    joints: Sequence[Sequence[Sequence[float]]] | None = None,
    overlap: float = 0.7,
) -> dict[str, Array]:
    """Of one image, in slots. Boxes and joints in pixels of the input, sizes in cells."""
    height, width = size
    n, number = len(boxes), 17 if joints is None else len(joints[0]) if len(joints) else 17
    t = {
        "hm": np.zeros((num_classes, height, width)),
        "wh": np.zeros((n, 2)), "reg": np.zeros((n, 2)),
        "ind": np.zeros(n, dtype=int), "reg_mask": np.zeros(n),
        "hps": np.zeros((n, 2 * number)), "hps_mask": np.zeros((n, 2 * number)),
        "hm_hp": np.zeros((number, height, width)),
        "hp_offset": np.zeros((n * number, 2)), "hp_ind": np.zeros(n * number, dtype=int),
        "hp_mask": np.zeros(n * number),
    }  # fmt: skip
    for k, (box, label) in enumerate(zip(boxes, classes)):
        x0, y0, x1, y1 = (
            min(max(v / 4, 0), limit - 1) for v, limit in zip(box, (width, height) * 2)
        )
        w, h = x1 - x0, y1 - y0
        if not (w > 0 and h > 0):
            continue
        r = radius(h, w, overlap)
        cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
        ix, iy = int(cx), int(cy)
        t["wh"][k], t["reg"][k] = (w, h), (cx - ix, cy - iy)
        t["ind"][k], t["reg_mask"][k] = iy * width + ix, 1
        draw(t["hm"][label], ix, iy, r)
        if joints is None:
            continue
        if sum(v for _, _, v in joints[k]) == 0:
            t["reg_mask"][k] = 0
        for j, (px, py, v) in enumerate(joints[k]):
            px, py = px / 4, py / 4
            if v > 0 and 0 <= px < width and 0 <= py < height:
                jx, jy = int(px), int(py)
                t["hps"][k, 2 * j : 2 * j + 2] = px - ix, py - iy
                t["hps_mask"][k, 2 * j : 2 * j + 2] = 1
                t["hp_offset"][k * number + j] = px - jx, py - jy
                t["hp_ind"][k * number + j] = jy * width + jx
                t["hp_mask"][k * number + j] = 1
                draw(t["hm_hp"][j], jx, jy, r)
    return t


def focal(logits: Array, target: Array, clamp: float = 1e-4) -> float:
    """Of a whole batch."""
    total, positives = 0.0, 0
    for z, y in zip(logits.ravel().tolist(), target.ravel().tolist()):
        p = min(max(1 / (1 + math.exp(-z)), clamp), 1 - clamp)
        if y == 1:
            positives += 1
            total -= (1 - p) ** 2 * math.log(p)
        else:
            total -= (1 - y) ** 4 * p**2 * math.log(1 - p)
    return total / positives if positives else total


def masked_l1(predicted: Array, expected: Array, mask: Array) -> float:
    """``(N, C)`` values and a mask ``(N,)``, which counts for every coordinate, or ``(N, C)``."""
    mask = np.broadcast_to(mask[:, None] if mask.ndim == 1 else mask, expected.shape)
    return float((np.abs(predicted - expected) * mask).sum() / (mask.sum() + 1e-4))


def losses(maps: dict[str, Array], batch: Sequence[dict[str, Array]]) -> dict[str, float]:
    """Of raw maps ``(B, C, H, W)`` and the targets of each image."""

    def join(name: str) -> Array:
        return np.concatenate([t[name] for t in batch])

    def at(name: str, index: str) -> Array:
        return np.concatenate(
            [m.reshape(len(m), -1)[:, t[index]].T for m, t in zip(maps[name], batch)]
        )

    result = {"hm": focal(maps["hm"], np.stack([t["hm"] for t in batch]))}
    result["wh"] = 0.1 * masked_l1(at("wh", "ind"), join("wh"), join("reg_mask"))
    result["reg"] = masked_l1(at("reg", "ind"), join("reg"), join("reg_mask"))
    if "hps" in maps:
        result["hps"] = masked_l1(at("hps", "ind"), join("hps"), join("hps_mask"))
        result["hm_hp"] = focal(maps["hm_hp"], np.stack([t["hm_hp"] for t in batch]))
        result["hp_offset"] = masked_l1(
            at("hp_offset", "hp_ind"), join("hp_offset"), join("hp_mask")
        )
    return result


def peaks(heat: Array, top_k: int) -> list[tuple[float, int, int, int]]:
    """Score, class, row, column of the best cells of ``(K, H, W)`` that no neighbour exceeds."""
    found = []
    for c, plane in enumerate(heat):
        padded = np.pad(plane, 1, constant_values=-np.inf)
        for y in range(plane.shape[0]):
            for x in range(plane.shape[1]):
                if plane[y, x] == padded[y : y + 3, x : x + 3].max():
                    found.append((float(plane[y, x]), c, y, x))
    return sorted(found, reverse=True)[:top_k]


def decode(maps: dict[str, Array], top_k: int, match: str = "authors") -> list[dict]:
    """Of one image: ``(C, H, W)`` maps, heatmaps as probabilities."""
    found = []
    for score, label, y, x in peaks(maps["hm"], top_k):
        cx, cy = x + maps["reg"][0, y, x], y + maps["reg"][1, y, x]
        w, h = maps["wh"][:, y, x]
        one = {"score": score, "label": label, "cell": (x, y)}
        one["box"] = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
        found.append(one)
    if "hps" not in maps:
        return found
    number = len(maps["hm_hp"])
    candidates = []
    for j in range(number):
        every = peaks(maps["hm_hp"][j : j + 1], top_k)
        candidates.append([
            (x + maps["hp_offset"][0, y, x], y + maps["hp_offset"][1, y, x], score)
            for score, _, y, x in every if score > 0.1
        ])  # fmt: skip
    for one in found:
        x, y = one["cell"]
        one["joints"] = []
        for j in range(number):
            seen = maps["hps"][2 * j, y, x] + x, maps["hps"][2 * j + 1, y, x] + y
            one["joints"].append(_joint(seen, candidates[j], one["box"], match))
    return found


def _joint(
    seen: tuple[float, float], candidates: list, box: tuple, match: str
) -> tuple[float, float, float]:
    if match == "regression":
        return *seen, 1.0
    left, top, right, bottom = box
    if match == "tfod":
        mx, my, w, h = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
        left, right, top, bottom = mx - 0.6 * w, mx + 0.6 * w, my - 0.6 * h, my + 0.6 * h
    default = (*seen, 1.0 if match == "authors" else 0.1)
    if not candidates:
        return default
    px, py, score = min(candidates, key=lambda c: math.hypot(c[0] - seen[0], c[1] - seen[1]))
    far = math.hypot(px - seen[0], py - seen[1]) > 0.3 * max(right - left, bottom - top)
    if px < left or px > right or py < top or py > bottom or far:
        return default
    return px, py, 1.0 if match == "authors" else score


def affine(point: Sequence[float], center: Sequence[float], s: float, out: Sequence[float]) -> list:
    """By the three points that fix the similarity, without rotation."""
    k = out[0] / s
    return [k * (p - c) + o / 2 for p, c, o in zip(point, center, out)]
