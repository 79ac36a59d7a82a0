"""What to tell a user whose training failed: a sentence with the place and the cure."""

from __future__ import annotations

import math

import torch
from detectron2.config import CfgNode
from torch import nn

from centernet2.engine.train_step import MicroBatch, NonFiniteLoss
from centernet2.errors import UserError

__all__ = [
    "NonFiniteLossError",
    "OutOfMemoryError",
    "forward_report",
    "is_out_of_memory",
    "nonfinite_report",
    "nonfinite_weights",
    "out_of_memory_in_test",
    "out_of_memory_report",
    "weights_report",
]

_FILES_SHOWN = 16


class NonFiniteLossError(UserError, FloatingPointError):
    """A loss became NaN or infinite; a FloatingPointError as in Detectron2."""

    exit_code = 3


class OutOfMemoryError(UserError):
    """The device or the machine has not enough memory for a step."""

    exit_code = 4


def nonfinite_weights(model: nn.Module) -> list[str]:
    """Names of the parameters that are not finite."""
    return [
        name.removeprefix("module.")
        for name, p in model.named_parameters()
        if not torch.isfinite(p).all()
    ]


def nonfinite_report(
    cfg: CfgNode,
    iteration: int,
    lr: float,
    failure: NonFiniteLoss,
    batches: list[MicroBatch],
    weights: list[str],
) -> str:
    """Name the losses that are not finite, the iteration, the images, the rate and the cure.

    Args:
        failure: of this process, with the means over all processes.
        batches: the step's batches of all processes, with their own losses.
        weights: names of parameters that were already not finite.
    """
    losses = failure.losses
    bad = [f"{name} = {value}" for name, value in losses.items() if not math.isfinite(value)]
    what = "Loss became NaN or infinite"
    if not bad:
        what, bad = (
            "Gradients became NaN or infinite while all losses are finite",
            [_some(failure.gradients)],
        )
    culprits = [b for b in batches if not all(map(math.isfinite, b.losses.values()))]
    first = f"{what} at iteration {iteration} with learning rate {lr:.3g}: {', '.join(bad)}."
    return _explained(cfg, [first], culprits or batches, batches, weights)


def _explained(
    cfg: CfgNode,
    lines: list[str],
    culprits: list[MicroBatch],
    batches: list[MicroBatch],
    weights: list[str],
) -> str:
    files = [name for batch in culprits for name in batch.files]
    shown = ", ".join(files[:_FILES_SHOWN])
    if len(files) > _FILES_SHOWN:
        shown += f" and {len(files) - _FILES_SHOWN} more"
    lines.append(f"Images: {shown}.")
    pixels = [name for batch in batches for name in batch.not_finite]
    if pixels:
        lines.append(f"Pixels were already not finite in {', '.join(pixels[:_FILES_SHOWN])}.")
    if weights:
        lines.append(weights_report(weights))
    return "\n".join([*lines, _learning_rate_hint(cfg)])


def weights_report(names: list[str]) -> str:
    """Say which parameters are not finite, and what that comes from."""
    return (
        f"{len(names)} parameters ({_some(names)}) were already not finite: an earlier step was "
        "too large."
    )


def forward_report(
    cfg: CfgNode, iteration: int, error: Exception, batch: MicroBatch, weights: list[str]
) -> str:
    """Say of a forward pass that failed that numbers, not the code, are why.

    Args:
        batch: what it was given.
        weights: names of parameters that were already not finite.
    """
    reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    lines = [
        f"The forward pass failed at iteration {iteration} ({type(error).__name__}: {reason})."
    ]
    return _explained(cfg, lines, [batch], [batch], weights)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _learning_rate_hint(cfg: CfgNode) -> str:
    solver = cfg.SOLVER
    batch = solver.IMS_PER_BATCH * solver.ACCUMULATION_STEPS
    reference = solver.REFERENCE_IMS_PER_BATCH
    if 0 < batch < reference:
        fitting = solver.BASE_LR * batch / reference
        return (
            f"SOLVER.BASE_LR {solver.BASE_LR:g} was chosen for {reference} images per step and "
            f"this run takes {batch}: try SOLVER.BASE_LR {fitting:.3g}, or "
            "SOLVER.AUTO_SCALE_LR True."
        )
    return (
        f"Try SOLVER.BASE_LR {solver.BASE_LR / 2:.3g}, a longer SOLVER.WARMUP_ITERS "
        f"(now {solver.WARMUP_ITERS}), or SOLVER.CLIP_GRADIENTS.ENABLED True; and look at the "
        "images' annotations."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a device or on the host."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "out of memory" in text
    )


def out_of_memory_report(
    cfg: CfgNode, iteration: int, batches: list[MicroBatch], device: torch.device
) -> str:
    """Say what was tried and which keys to turn down.

    Args:
        batches: of this process; the last one is the one that did not fit.
    """
    sizes = batches[-1].sizes if batches else []
    images = len(batches[-1].files) if batches else 0
    largest = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    per_step = cfg.SOLVER.IMS_PER_BATCH
    advice = [
        f"SOLVER.IMS_PER_BATCH (now {per_step}; SOLVER.ACCUMULATION_STEPS "
        f"{2 * cfg.SOLVER.ACCUMULATION_STEPS} with half of it keeps the recipe)",
        _train_sizes(cfg),
    ]
    if not cfg.SOLVER.AMP.ENABLED:
        advice.append("or set SOLVER.AMP.ENABLED True")
    return (
        f"Out of memory on {_device_name(device)} at iteration {iteration}: {images} images per "
        f"process, the largest {largest[1]}x{largest[0]} pixels. Turn down {'; '.join(advice)}."
    )


def out_of_memory_in_test(cfg: CfgNode) -> str:
    """Say which keys make evaluation smaller."""
    if cfg.INPUT.MIN_SIZE_TEST == 0 and cfg.INPUT.TEST_INPUT_TYPE == "default":
        scales = ""
        for architectures, group in (
            (("CenterNetTriplets", "CornerNet"), "TRIPLETS"),
            (("ObjectsAsPoints",), "POINTS"),
        ):
            if cfg.MODEL.META_ARCHITECTURE in architectures:
                now = cfg.MODEL[group].TEST_SCALES
                scales = f" MODEL.{group}.TEST_SCALES (now {now}) or"
        return (
            f"Out of memory while evaluating on {cfg.MODEL.DEVICE} at the images' own sizes: turn "
            f"down{scales} the size of test images, with INPUT.MIN_SIZE_TEST (0 is as they are)."
        )
    square = cfg.INPUT.TEST_INPUT_TYPE == "square"
    keys = ["TEST_SIZE"] if square else ["MIN_SIZE_TEST", "MAX_SIZE_TEST"]
    sizes = " and ".join(f"INPUT.{key} (now {cfg.INPUT[key]})" for key in keys)
    return f"Out of memory while evaluating on {cfg.MODEL.DEVICE}: turn down {sizes}."


def _train_sizes(cfg: CfgNode) -> str:
    if cfg.INPUT.CUSTOM_AUG in ("EfficientDetResizeCrop", "KeypointCrop", "PointsCrop"):
        return f"INPUT.TRAIN_SIZE (now {cfg.INPUT.TRAIN_SIZE})"
    return (
        f"INPUT.MIN_SIZE_TRAIN (now {_brief(cfg.INPUT.MIN_SIZE_TRAIN)}) and INPUT.MAX_SIZE_TRAIN "
        f"(now {cfg.INPUT.MAX_SIZE_TRAIN})"
    )


def _brief(sizes: tuple[int, ...]) -> str:
    return str(sizes[0]) if len(sizes) == 1 else f"{min(sizes)} to {max(sizes)}"


def _device_name(device: torch.device) -> str:
    if device.type != "cuda":
        return f"the {device.type}"
    properties = torch.cuda.get_device_properties(device)
    return f"{device} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"
