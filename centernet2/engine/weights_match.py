"""Where the names and shapes of a checkpoint and of a model differ, and what that means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

__all__ = ["SetAside", "WeightsMatch", "pixel_differences", "set_aside"]

# Entries of older files that nothing reads: class frequencies that were once saved with the
# classifier, and the ImageNet classifier of the stride-4 DLA
_LEFT_OVER = re.compile(r"(^|\.)freq_weight$|^(backbone\.)?base\.fc\.(weight|bias)$")
_PIXELS = ("pixel_mean", "pixel_std")

# Layers with a row per class, and how many rows belong to the background or to a class
_CLASS_LAYERS = [
    (re.compile(r"(^|\.)box_predictor(\.\d+)?\.cls_score\.(weight|bias)$"), 1, 1),
    (re.compile(r"(^|\.)box_predictor(\.\d+)?\.bbox_pred\.(weight|bias)$"), 0, 4),
    (re.compile(r"(^|\.)centernet_head\.cls_logits\.(weight|bias)$"), 0, 1),
    (re.compile(r"(^|\.)mask_head\.predictor\.(weight|bias)$"), 0, 1),
    (re.compile(r"(^|\.)(tl|br|ct)_heats\.\d+\.1\.(weight|bias)$"), 0, 1),
    (re.compile(r"^head\.hm\.(2|\d+\.1)\.(weight|bias)$"), 0, 1),
]


@dataclass(frozen=True)
class SetAside:
    """Entries of a checkpoint that are not loaded on purpose."""

    left_over: list[str] = field(default_factory=list)
    """Names of older files that mean nothing any more."""
    class_layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Layers for another number of classes: (classes in the file, classes of the model)."""

    @property
    def classes(self) -> str:
        """Both numbers of classes in words; "" if they are equal."""
        pairs = sorted(set(self.class_layers.values()))
        return " and ".join(f"the file is for {a} classes, the model for {b}" for a, b in pairs)

    @property
    def layers(self) -> list[str]:
        """Names of the layers for another number of classes, without weight and bias."""
        return sorted({name.rpartition(".")[0] for name in self.class_layers})


@dataclass(frozen=True)
class WeightsMatch:
    """What became of every name of a checkpoint and of a model."""

    matched: list[str]
    missing: list[str]
    unexpected: list[str]
    reshaped: list[tuple[str, tuple[int, ...], tuple[int, ...]]]
    """Name, shape in the file, shape in the model."""
    aside: SetAside = field(default_factory=SetAside)
    pixels: list[str] = field(default_factory=list)
    """Sentences of :func:`pixel_differences`."""
    file_size: int = 0
    """Number of names in the file."""
    model_size: int = 0
    """Number of names in the model."""

    @property
    def foreign(self) -> str:
        """A sentence if most of the file and most of the model have no counterpart; else ""."""
        matched = len(self.matched) + len(self.aside.class_layers)
        if matched * 2 >= min(self.file_size, self.model_size):
            return ""
        return (
            f"only {matched} of its {self.file_size} weights fit this model of {self.model_size}: "
            "it is of another architecture; take the config that it was trained with."
        )

    @property
    def complete(self) -> bool:
        """Whether the file holds every weight of the model."""
        return not (self.missing or self.reshaped or self.aside.class_layers)

    @classmethod
    def of(
        cls,
        incompatible: Any,
        state: Iterable[str],
        file: Iterable[str],
        aside: SetAside,
        pixels: list[str],
    ) -> WeightsMatch:
        """Sort the names.

        Args:
            incompatible: what Detectron2's checkpointer returned.
            state: names in the model.
            file: names in the file, after any change to the model's.
            aside: entries that were taken out of it before.
            pixels: how pixel statistics differ.
        """
        reshaped = [(n, tuple(a), tuple(b)) for n, a, b in incompatible.incorrect_shapes]
        names = list(state)
        known = {n for n, _, _ in reshaped} | aside.class_layers.keys()
        held = set(file)
        # Detectron2 does not call all that is absent missing: pixel statistics, which the config
        # gives too, and those of frozen normalisations in the oldest files
        loaded = held - set(incompatible.missing_keys) - known
        return cls(
            matched=[n for n in names if n in loaded],
            missing=[n for n in incompatible.missing_keys if n not in known],
            unexpected=list(incompatible.unexpected_keys),
            reshaped=reshaped,
            aside=aside,
            pixels=pixels,
            file_size=len(held),
            model_size=len(names),
        )


def set_aside(weights: dict[str, Any], state: Mapping[str, torch.Tensor]) -> SetAside:
    """Take out of a checkpoint, in place, what is not to be loaded into a model.

    Args:
        weights: arrays or tensors by name.
        state: of the model.

    Returns:
        What was taken out.
    """
    left_over = [
        n for n in weights if n not in state and (n in _PIXELS or _LEFT_OVER.search(n) is not None)
    ]
    class_layers = {}
    for name, value in weights.items():
        if name in state:
            classes = _classes(name, tuple(value.shape), tuple(state[name].shape))
            if classes is not None:
                class_layers[name] = classes
    for name in (*left_over, *class_layers):
        del weights[name]
    return SetAside(left_over, class_layers)


def _classes(name: str, file: tuple[int, ...], model: tuple[int, ...]) -> tuple[int, int] | None:
    """Numbers of classes in file and model, where that is all that differs."""
    if not file or not model or file[0] == model[0] or file[1:] != model[1:]:
        return None
    for pattern, background, rows in _CLASS_LAYERS:
        if pattern.search(name):
            # Four rows of bbox_pred alone are boxes for all classes together
            if rows > 1 and rows in (file[0], model[0]):
                return None
            return (file[0] - background) // rows, (model[0] - background) // rows
    return None


def pixel_differences(weights: Mapping[str, Any], model: nn.Module) -> list[str]:
    """Sentences on pixel statistics of a checkpoint that are not the model's.

    Args:
        weights: of the checkpoint; not every file has statistics.
        model: before the weights are loaded, so with the statistics of the config.
    """
    state = model.state_dict()
    sentences = []
    for name in _PIXELS:
        own = getattr(model, name, None)
        if name not in weights or not isinstance(own, torch.Tensor):
            continue
        mine = [round(v, 4) for v in own.float().flatten().tolist()]
        theirs = [round(v, 4) for v in torch.as_tensor(weights[name]).float().flatten().tolist()]
        if len(mine) == len(theirs) and all(abs(a - b) < 1e-2 for a, b in zip(mine, theirs)):
            continue
        used = "The file's are used" if name in state else "The config's are used"
        reverse = " (the same in the reverse order of colours)" if mine == theirs[::-1] else ""
        sentences.append(
            f"its {name} is {theirs}, but MODEL.{name.upper()} is {mine}{reverse}. {used}; set the "
            "key to what the model was trained with, and INPUT.FORMAT to that order."
        )
    return sentences
