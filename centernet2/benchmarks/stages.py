"""Where a detector's time goes: backbone, convolutions of the first stage's head, and the rest."""

from __future__ import annotations

import time

from torch import nn

from .models import first_stage_parts
from .timing import Step, Times, measure

__all__ = ["count_proposals", "measure_stages"]


def measure_stages(step: Step, model: nn.Module, repeat: int) -> dict[str, Times]:
    """Seconds of each part of a model, and of its whole step.

    Args:
        step: runs the model once, on a CPU: a GPU computes after its calls have returned.
        model: with a ``backbone``, and the head of CenterNet or an RPN.
        repeat: rounds that count.

    Returns:
        "backbone", "head", "outside" (all else: decoding, suppression, RoI heads) and "total".
    """
    parts = first_stage_parts(model)
    running = {name: [0.0, 0.0] for name in parts}
    rounds: dict[str, list[list[float]]] = {name: [] for name in parts}
    hooks = []
    for name, part in parts.items():
        seconds = running[name]
        hooks.append(part.register_forward_pre_hook(lambda *_, s=seconds: _add(s, -1)))
        hooks.append(part.register_forward_hook(lambda *_, s=seconds: _add(s, 1)))

    def watched(i: int) -> None:
        for seconds in running.values():
            seconds[:] = [0.0, 0.0]
        step(i)
        for name, seconds in running.items():
            rounds[name].append(list(seconds))

    total = measure({"total": watched}, repeat)["total"]
    for hook in hooks:
        hook.remove()
    counted = {name: values[-repeat:] for name, values in rounds.items()}
    result = {
        name: Times([wall for wall, _ in values], [process for _, process in values])
        for name, values in counted.items()
    }
    result["outside"] = Times(
        [t - sum(p.wall[i] for p in result.values()) for i, t in enumerate(total.wall)],
        [t - sum(p.process[i] for p in result.values()) for i, t in enumerate(total.process)],
    )
    return {**result, "total": total}


def count_proposals(step: Step, model: nn.Module) -> int | None:
    """How many proposals the second stage gets in a step; None of a one-stage detector.

    Untrained networks may hand on fewer than trained ones do, and look faster than they are.
    """
    generator = getattr(model, "proposal_generator", None)
    if not hasattr(model, "roi_heads") or not isinstance(generator, nn.Module):
        return None
    found: list[int] = []
    hook = generator.register_forward_hook(lambda _, __, out: found.extend(map(len, out[0])))
    step(0)
    hook.remove()
    return sum(found)


def _add(seconds: list[float], sign: int) -> None:
    seconds[0] += sign * time.perf_counter()
    seconds[1] += sign * time.process_time()
