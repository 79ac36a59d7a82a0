"""How a checkpoint of another program fits a config, and its conversion to one safe file."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils.file_io import PathManager
from safetensors import safe_open
from safetensors.torch import save

from centernet2.engine.atomic import atomic_write
from centernet2.engine.checkpoint import Checkpointer
from centernet2.engine.checks import class_counts
from centernet2.engine.weights_match import WeightsMatch
from centernet2.errors import UserError

__all__ = ["ModuleCounts", "PublishedModel", "colour_warnings", "read_published", "write_model"]

# Mean of ImageNet's pixels, red first; Caffe's models have nearly the same
_IMAGENET_RGB = (123.675, 116.28, 103.53)
_NEAR = 1.5


class ModuleCounts(NamedTuple):
    """Numbers of weights of one part of the model."""

    module: str
    model: int
    matched: int
    missing: int
    reshaped: int
    unexpected: int


@dataclass(frozen=True)
class PublishedModel:
    """A model with the weights of a file, and how well they fit."""

    state: dict[str, torch.Tensor]
    """The model's weights after loading, on the CPU."""
    match: WeightsMatch
    warnings: list[str]
    """Sentences on numbers of classes, pixel statistics and order of colours."""
    source: Path
    """The file."""

    def modules(self) -> list[ModuleCounts]:
        """Counts for each part of the model, in the model's order."""
        match = self.match
        counts = {
            "model": Counter(map(_module, self.state)),
            "matched": Counter(map(_module, match.matched)),
            "missing": Counter(map(_module, match.missing)),
            "reshaped": Counter(
                map(_module, [*(n for n, _, _ in match.reshaped), *match.aside.class_layers])
            ),
            "unexpected": Counter(map(_module, match.unexpected)),
        }
        names = dict.fromkeys([*counts["model"], *counts["unexpected"]])
        return [ModuleCounts(n, **{k: c[n] for k, c in counts.items()}) for n in names]


def _module(name: str) -> str:
    return ".".join(name.split(".")[:2]) if name.count(".") > 1 else name


def read_published(cfg: CfgNode, weights: str) -> PublishedModel:
    """Build the model of a config on the CPU and load a file into it.

    Args:
        cfg: with the keys of CenterNet2.
        weights: path or URL; see :func:`centernet2.engine.load_weights_file`.

    Raises:
        UserError: if the file is absent, damaged, unsafe or of another architecture.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg)
    checkpointer = Checkpointer(model)
    checkpointer.load(weights, checkpointables=[])
    match = checkpointer.match
    if match is None:
        raise UserError("No weights file is named.")
    warnings = [match.foreign] if match.foreign else []
    if match.aside.classes:
        keys = " and ".join(f"{k} {v}" for k, v in class_counts(cfg).items())
        warnings.append(
            f"the numbers of classes disagree: {match.aside.classes} ({keys}). Without training, "
            f"these layers give noise: {', '.join(match.aside.layers)}."
        )
    warnings += match.pixels
    source = Path(PathManager.get_local_path(weights.partition("?")[0]))
    if source.suffix == ".safetensors":
        warnings += _recorded_differences(cfg, source)
    warnings += colour_warnings(cfg)
    state = {k: v.detach().clone().contiguous() for k, v in model.state_dict().items()}
    return PublishedModel(state, match, warnings, source)


def colour_warnings(cfg: CfgNode) -> list[str]:
    """Sentences on pixel statistics that do not go with the order of colours or the pixels.

    Only ImageNet's mean can be told to be in one order; others give no warning.
    """
    mean, std = tuple(cfg.MODEL.PIXEL_MEAN), tuple(cfg.MODEL.PIXEL_STD)
    if max(mean) <= 1 and max(std) <= 1 and any(mean):
        return [
            f"MODEL.PIXEL_MEAN {_text(mean)} and MODEL.PIXEL_STD {_text(std)} are for pixels from "
            "0 to 1, but pixels are 0 to 255 here: multiply both by 255."
        ]
    order = _order(mean)
    if not order:
        return []
    warnings = []
    if order != cfg.INPUT.FORMAT:
        warnings.append(
            f"INPUT.FORMAT is {cfg.INPUT.FORMAT}, but MODEL.PIXEL_MEAN {_text(mean)} is ImageNet's "
            f"in the order {order}: red gets the mean of blue. Keep that only if the model was "
            f"trained so; else set INPUT.FORMAT {order}."
        )
    # ImageNet's red deviates more than its blue
    if len(std) == 3 and std[0] != std[2] and (std[0] > std[2]) != (order == "RGB"):
        warnings.append(
            f"MODEL.PIXEL_STD {_text(std)} is in the other order of colours than MODEL.PIXEL_MEAN "
            f"{_text(mean)}: reverse one of them."
        )
    return warnings


def _order(mean: Sequence[float]) -> str:
    for order, known in (("RGB", _IMAGENET_RGB), ("BGR", _IMAGENET_RGB[::-1])):
        if len(mean) == 3 and all(abs(a - b) < _NEAR for a, b in zip(mean, known)):
            return order
    return ""


def _text(numbers: Sequence[float]) -> str:
    return "[" + ", ".join(f"{n:g}" for n in numbers) + "]"


def _described(cfg: CfgNode) -> dict[str, str]:
    """What a user of the weights must know, as metadata."""
    return {
        "num_classes": " ".join(str(v) for v in dict.fromkeys(class_counts(cfg).values())),
        "pixel_mean": _text(cfg.MODEL.PIXEL_MEAN),
        "pixel_std": _text(cfg.MODEL.PIXEL_STD),
        "input_format": cfg.INPUT.FORMAT,
    }


def _recorded_differences(cfg: CfgNode, path: Path) -> list[str]:
    with safe_open(path, framework="pt") as file:
        recorded = file.metadata() or {}
        held = {"num_classes", *file.keys()}  # what is compared with the weights themselves
    return [
        f"the file's card says {key} {recorded[key]}, but the config has {value}."
        for key, value in _described(cfg).items()
        if key in recorded and key not in held and recorded[key] != value
    ]


def write_model(published: PublishedModel, cfg: CfgNode, config_name: str, output: Path) -> str:
    """Write the weights as safetensors with a model card inside; equal inputs give equal bytes.

    Args:
        published: of :func:`read_published`.
        cfg: of the model.
        config_name: name of the config for the card.
        output: ``.safetensors``.

    Returns:
        The sha256 of the written file.

    Raises:
        UserError: if ``output`` has another ending or is the source, cannot be written, or the
            file lacks some of the model's weights.
    """
    source = published.source
    if output.suffix != ".safetensors":
        raise UserError(f"--output {output}: the name must end in .safetensors.")
    if output.exists() and os.path.samefile(output, source):
        raise UserError(f"--output {output} is the file that is read; give another name.")
    if not published.match.complete:
        raise UserError(
            f"{output} is not written, because {source} does not hold all weights of this model; "
            "take the config, and number of classes, that it was trained with."
        )
    facts = {
        "config": config_name,
        "source_file": source.name,
        "source_sha256": _sha256(source),
        **_described(cfg),
    }
    metadata = {"format": "pt", "model_card": _card(facts, len(published.state)), **facts}
    data = _with_sorted_header(save(published.state, metadata=metadata))
    try:
        with atomic_write(output) as file:
            file.write(data)
    except OSError as error:
        raise UserError(f"--output {output} cannot be written ({error.strerror}).") from error
    return hashlib.sha256(data).hexdigest()


def _card(facts: Mapping[str, str], size: int) -> str:
    return "\n".join(
        [
            f"# {Path(facts['config']).stem}",
            "",
            f"The {size} weights of `{facts['source_file']}` (sha256 `{facts['source_sha256']}`)",
            f"for the config `{facts['config']}` of CenterNet2, unchanged.",
            "",
            "| | |",
            "|---|---|",
            f"| classes | {facts['num_classes']} |",
            f"| order of colours | {facts['input_format']}, 0 to 255 |",
            f"| mean | {facts['pixel_mean']} |",
            f"| standard deviation | {facts['pixel_std']} |",
            "",
            "Training data, accuracy and licence are those of the file that it comes from.",
            "",
        ]
    )


def _with_sorted_header(data: bytes) -> bytes:
    # safetensors writes its metadata in an order that changes from process to process
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
