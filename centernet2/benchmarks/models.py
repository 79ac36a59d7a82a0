"""Models built for timing: from a config or torchvision, plain or treated in ways to go faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torchvision
from detectron2.data import MetadataCatalog
from detectron2.layers import FrozenBatchNorm2d
from detectron2.model_zoo import get_config_file
from detectron2.modeling import build_model
from detectron2.structures import ImageList
from detectron2.utils.events import EventStorage
from torch import nn

import centernet2.data
import centernet2.modeling  # noqa: F401  (registers the models, as the line above the data sets)
from centernet2.engine import Checkpointer, Trainer, build_cfg
from centernet2.engine.activation_checkpointing import checkpoint_activations
from centernet2.engine.checks import num_classes
from centernet2.engine.defaults import choose_device
from centernet2.errors import UserError
from centernet2.modeling.inference_form import to_inference_form

from .scenes import random_batch
from .timing import Step, finish

__all__ = ["TREATMENTS", "Contestant", "Scene", "inference_step", "read_contestants", "train_step"]

TREATMENTS = {
    "fused": "batch normalisation inside the convolutions, maps channels-last on a CPU",
    "channels_last": "maps channels-last",
    "compiled": "backbone and first stage's head through torch.compile",
    "bf16": "autocast to bfloat16",
    "checkpointed": "activations computed again rather than kept",
}
_OF_TRAINING = {"channels_last", "bf16", "checkpointed"}
_OF_INFERENCE = {"fused", "channels_last", "compiled", "bf16"}
_RANDOM_DATA = "benchmark_random"


@dataclass(frozen=True)
class Contestant:
    """A model to measure.

    Attributes:
        source: a config file, ``detectron2:NAME`` of one that comes with Detectron2, or
            ``torchvision:NAME`` of one of torchvision's detectors.
        treatments: names out of :data:`TREATMENTS`.
    """

    source: str
    treatments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For tables."""
        library, _, name = self.source.rpartition(":")
        return " ".join(filter(None, [library, Path(name).stem, *self.treatments]))


@dataclass(frozen=True)
class Scene:
    """Random images to measure on.

    Attributes:
        size: height and width in pixels.
        images: of a batch.
        boxes: objects of an image.
    """

    size: tuple[int, int]
    images: int = 1
    boxes: int = 20


def read_contestants(words: Sequence[str], mode: str) -> list[Contestant]:
    """From ``CONFIG[+TREATMENT...]``.

    Args:
        words: of the command line.
        mode: "train" or "inference", which a treatment must suit.

    Raises:
        UserError: for an unknown treatment, or the same model twice.
    """
    allowed = _OF_TRAINING if mode == "train" else _OF_INFERENCE
    found = []
    for word in words:
        source, *treatments = word.split("+")
        for treatment in treatments:
            if treatment not in allowed:
                choice = ", ".join(sorted(allowed))
                raise UserError(f"'{word}': {treatment} is no treatment for {mode}; {choice} are.")
        found.append(Contestant(source, tuple(treatments)))
    names = [contestant.name for contestant in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name} is named twice; two models of one name cannot be told apart.")
    return found


def inference_step(
    contestant: Contestant, overrides: list[str], rounds: int, scene: Scene | None
) -> tuple[Step, nn.Module]:
    """A model at work on images.

    Args:
        contestant: the model.
        overrides: KEY VALUE pairs for its config.
        rounds: different batches, if they come from its data set.
        scene: images to run on; None for those of its config's ``DATASETS.TEST``.

    Returns:
        The step, and the model.
    """
    if contestant.source.startswith("torchvision:"):
        return _torchvision_step(contestant, scene)
    cfg, model = _build(contestant.source, overrides)
    model.eval()
    if scene is None:
        loader = Trainer.build_test_loader(cfg, cfg.DATASETS.TEST[0])
        batches = list(islice(loader, rounds))
    else:
        batches = [random_batch(scene.images, scene.size, 0, 1, seed=0)]
        if not cfg.MODEL.WEIGHTS:
            _make_ordinary(model, batches[0])
    autocast = _treat(model, contestant.treatments, cfg.MODEL.DEVICE)

    def step(i: int) -> None:
        with torch.inference_mode(), autocast():
            model(batches[i % len(batches)])
        finish(cfg.MODEL.DEVICE)

    return step, model


def train_step(
    contestant: Contestant, overrides: list[str], rounds: int, scene: Scene | None
) -> tuple[Step, nn.Module]:
    """A model in training: forward, backward and the optimizer. See :func:`inference_step`."""
    if contestant.source.startswith("torchvision:"):
        raise UserError("torchvision's detectors are timed at inference only.")
    if scene is not None:
        overrides = [*overrides, "DATASETS.TRAIN", f"('{_RANDOM_DATA}',)"]
    cfg, model = _build(contestant.source, overrides)
    model.train()
    if scene is None:
        loader = Trainer.build_train_loader(cfg)
        loader.start_at(0, 0)
        batches = list(islice(loader, rounds))
    else:
        batches = [
            random_batch(scene.images, scene.size, scene.boxes, num_classes(cfg), seed)
            for seed in range(min(rounds, 4))
        ]
        if not cfg.MODEL.WEIGHTS:
            _make_ordinary(model, batches[0])
        # Losses that depend on how often classes occur ask for this at their first call
        counts = [{"id": i, "image_count": 1 + i} for i in range(num_classes(cfg))]
        MetadataCatalog.pop(_RANDOM_DATA, None)
        MetadataCatalog.get(_RANDOM_DATA).class_image_count = counts
    autocast = _treat(model, contestant.treatments, cfg.MODEL.DEVICE)
    optimizer = Trainer.build_optimizer(cfg, model)
    for group in optimizer.param_groups:
        group["lr"] = 1e-6  # the weights stay what they are

    def step(i: int) -> None:
        optimizer.zero_grad()  # as in training: before the activations come
        with EventStorage(i), autocast():
            losses = model(batches[i % len(batches)])
        sum(losses.values()).backward()
        optimizer.step()
        finish(cfg.MODEL.DEVICE)

    return step, model


def _build(config: str, overrides: list[str]) -> tuple[Any, nn.Module]:
    if config.startswith("detectron2:"):
        config = _zoo_file(config.partition(":")[2])
    cfg = build_cfg(config, overrides)
    choose_device(cfg)
    cfg.DATALOADER.NUM_WORKERS = 0
    model = build_model(cfg)
    Checkpointer(model).load(cfg.MODEL.WEIGHTS)
    return cfg, model


def _zoo_file(name: str) -> str:
    try:
        return str(get_config_file(name))
    except RuntimeError:
        raise UserError(
            f"Detectron2 brings no config '{name}'; they are named like "
            "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml."
        ) from None


def _make_ordinary(model: nn.Module, batch: list[dict[str, Any]]) -> None:
    """Give an untrained network numbers of an ordinary size.

    Its frozen normalisations get the statistics of a batch, and the first stage's boxes do not
    depend on the features: an RPN proposes its anchors, CenterNet boxes of 16 cells. Else the
    numbers grow from layer to layer, and boxes are all the same or far too large, which takes
    RoIAlign several times as long.
    """

    def take_statistics(norm: Any, inputs: tuple[torch.Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)

    norms = [m for m in model.modules() if isinstance(m, FrozenBatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(take_statistics) for norm in norms]
    pixels = [(x["image"] - model.pixel_mean) / model.pixel_std for x in batch]
    divisor = int(model.backbone.size_divisibility)  # type: ignore[arg-type, union-attr]
    with torch.no_grad():
        model.backbone(ImageList.from_tensors(pixels, divisor).tensor)  # type: ignore[operator]
    for hook in hooks:
        hook.remove()
    for name, module in first_stage_parts(model).get("head", nn.Identity()).named_modules():
        if name.rpartition(".")[2] in ("anchor_deltas", "bbox_pred") and hasattr(module, "weight"):
            nn.init.zeros_(module.weight)


def _treat(model: nn.Module, treatments: Sequence[str], device: str) -> Callable[[], Any]:
    """Change a model in place.

    Returns:
        Makes the context that it runs in.
    """
    if "fused" in treatments:
        to_inference_form(model)
    if "channels_last" in treatments:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if "checkpointed" in treatments:
        checkpoint_activations(model)
    if "compiled" in treatments:
        for part in first_stage_parts(model).values():
            part.compile()
    bf16 = "bf16" in treatments
    return partial(torch.autocast, torch.device(device).type, torch.bfloat16, enabled=bf16)


def first_stage_parts(model: nn.Module) -> dict[str, nn.Module]:
    """Backbone and head convolutions of a detector, by what they are called in tables."""
    parts: dict[str, nn.Module] = {"backbone": model.backbone}  # type: ignore[dict-item]
    generator = getattr(model, "proposal_generator", None)
    for owner, name in ((generator, "centernet_head"), (generator, "rpn_head"), (model, "head")):
        if isinstance(getattr(owner, name, None), nn.Module):
            parts["head"] = getattr(owner, name)
    return parts


def _torchvision_step(contestant: Contestant, scene: Scene | None) -> tuple[Step, nn.Module]:
    name = contestant.source.partition(":")[2]
    if scene is None:
        raise UserError("torchvision's detectors are timed on images of a given --size.")
    if name not in torchvision.models.list_models(torchvision.models.detection):
        raise UserError(
            f"'{name}' is no detector of torchvision; it has "
            f"{', '.join(torchvision.models.list_models(torchvision.models.detection))}."
        )
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None).eval()
    autocast = _treat(model, contestant.treatments, "cpu")
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, *scene.size, generator=generator) for _ in range(scene.images)]

    def step(i: int) -> None:
        with torch.inference_mode(), autocast():
            model(images)

    return step, model
