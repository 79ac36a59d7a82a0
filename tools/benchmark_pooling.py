#!/usr/bin/env python3
"""Time corner pooling against other ways to compute it, and against a 3x3 convolution.

python tools/benchmark_pooling.py
python tools/benchmark_pooling.py --device cuda --batch 6 --rounds 50
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from centernet2.benchmarks.timing import finish
from centernet2.errors import UserError
from centernet2.modeling.triplets import pooling

Function = Callable[[torch.Tensor], torch.Tensor]


def loop(x: torch.Tensor, dim: int, reverse: bool) -> torch.Tensor:
    """Line after line, as one writes it down; autograd does the rest."""
    lines = list(x.unbind(dim))
    if reverse:
        lines.reverse()
    for i in range(1, len(lines)):
        lines[i] = torch.maximum(lines[i], lines[i - 1])
    if reverse:
        lines.reverse()
    return torch.stack(lines, dim)


def cummax(x: torch.Tensor, dim: int, reverse: bool) -> torch.Tensor:
    """PyTorch's own scan; it goes one way only."""
    if reverse:
        return x.flip(dim).cummax(dim).values.flip(dim)
    return x.cummax(dim).values


def contestants(channels: int, device: str) -> dict[str, list[Function]]:
    """Functions by name; the times of a list are averaged."""
    scans = [(dim, reverse) for dim in (-2, -1) for reverse in (False, True)]
    conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False, device=device)
    ours: list[Function] = [
        pooling.top_pool, pooling.bottom_pool, pooling.left_pool, pooling.right_pool,
    ]  # fmt: skip
    return {
        "corner pooling": ours,
        "torch.cummax": [lambda x, s=s: cummax(x, *s) for s in scans],  # type: ignore[misc]
        "loop over lines": [lambda x, s=s: loop(x, *s) for s in scans],  # type: ignore[misc]
        "center pooling": [pooling.column_max, pooling.row_max],
        "3x3 convolution": [conv],
    }


def milliseconds(step: Callable[[], object], rounds: int, device: str) -> float:
    """Least of the rounds, after two that do not count: other work on the machine only adds.

    On the CPU it is the time that the program computed, in all threads together.
    """
    clock = time.process_time if device == "cpu" else time.perf_counter
    times = []
    for i in range(rounds + 2):
        start = clock()
        step()
        finish(device)
        if i >= 2:
            times.append(1000 * (clock() - start))
    return min(times)


def measure(function: Function, x: torch.Tensor, rounds: int) -> tuple[float, float]:
    """Milliseconds of a forward pass without gradients, and of a training step."""
    device = x.device.type
    with torch.inference_mode():
        forward = milliseconds(lambda: function(x), rounds, device)
    trained = x.clone().requires_grad_()
    grad = torch.rand_like(x)

    def step() -> None:
        function(trained).backward(grad)

    return forward, milliseconds(step, rounds, device)


def get_parser() -> argparse.ArgumentParser:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images")
    parser.add_argument("--channels", type=int, default=128, metavar="C", help="of the maps")
    parser.add_argument("--size", type=int, default=128, metavar="CELLS", help="side of the maps")
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="timed repetitions")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="of the CPU")
    return parser


def run(options: argparse.Namespace) -> None:
    """Measure and print.

    Raises:
        UserError: for numbers below 1 or a GPU that is not there.
    """
    if min(options.batch, options.channels, options.size, options.rounds) < 1:
        raise UserError("--batch, --channels, --size and --rounds must be 1 or more.")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch finds no GPU.")
    if options.threads:
        torch.set_num_threads(options.threads)
    where = (
        f"{platform.machine()}, {torch.get_num_threads()} threads"
        if options.device == "cpu"
        else torch.cuda.get_device_name()
    )
    x = torch.rand(
        options.batch, options.channels, options.size, options.size, device=options.device
    )
    print(f"{tuple(x.shape)}, float32, {where}, PyTorch {torch.__version__}; least milliseconds")
    print(f"{'':16}  {'forward':>8}  {'forward and backward':>20}")
    for name, functions in contestants(options.channels, options.device).items():
        forward, step = (
            statistics.mean(part)
            for part in zip(*(measure(f, x, options.rounds) for f in functions))
        )
        print(f"{name:16}  {forward:8.2f}  {step:20.2f}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        run(get_parser().parse_args(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
