"""``centernet2 benchmark``: models timed against each other in one process, in turns.

Each round times one step of every model on the same images, so that whatever else the machine
does hits all alike. Printed are medians, quartiles, and ratios to the last model, the peer.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

import centernet2.data
import centernet2.modeling  # noqa: F401  (registers the models, as the line above the data sets)
from centernet2.cli.arguments import new_parser, positive
from centernet2.engine import Checkpointer, Trainer, build_cfg
from centernet2.engine.defaults import choose_device
from centernet2.errors import UserError

__all__ = ["build_parser", "measure", "run"]

_EXAMPLES = """
examples:
    centernet2 benchmark train configs/a.yaml configs/b.yaml
    centernet2 benchmark inference configs/a.yaml configs/b.yaml --repeat 30 --json out.json

Each round times one step of every model on the same images; the last model is the peer.
exit status: 0 done, 2 a mistake in options or configs.
"""
WARM_UP = 3


def prepare(config: str, mode: str, overrides: list[str], rounds: int) -> Callable[[int], None]:
    """Build a model and its batches.

    Returns:
        A function that runs the step of a round, to its end on the device.
    """
    cfg = build_cfg(config, overrides)
    choose_device(cfg)
    cfg.DATALOADER.NUM_WORKERS = 0
    model = build_model(cfg)
    Checkpointer(model).load(cfg.MODEL.WEIGHTS)

    if mode == "inference":
        loader = Trainer.build_test_loader(cfg, cfg.DATASETS.TEST[0])
        batches = list(islice(loader, rounds))
        model.eval()

        def infer(i: int) -> None:
            with torch.inference_mode():
                model(batches[i % len(batches)])
            _finish(cfg.MODEL.DEVICE)

        return infer

    loader = Trainer.build_train_loader(cfg)
    loader.start_at(0, 0)
    batches = list(islice(loader, rounds))
    optimizer = Trainer.build_optimizer(cfg, model)
    for group in optimizer.param_groups:
        group["lr"] = 1e-4  # small enough for any weights
    model.train()

    def train(i: int) -> None:
        with EventStorage(i):
            losses = model(batches[i % len(batches)])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        _finish(cfg.MODEL.DEVICE)

    return train


def _finish(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def measure(steps: dict[str, Callable[[int], None]], repeat: int) -> dict[str, list[float]]:
    """Seconds of each step in each round, after some rounds that do not count."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(WARM_UP + repeat):
        for name, step in steps.items():
            start = time.perf_counter()
            step(i)
            if i >= WARM_UP:
                times[name].append(time.perf_counter() - start)
    return times


def report(mode: str, times: dict[str, list[float]]) -> dict[str, Any]:
    """What was measured, and where."""
    medians = {name: statistics.median(values) for name, values in times.items()}
    peer = list(medians.values())[-1]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "mode": mode,
        "machine": {
            "processor": _processor(),
            "gpu": gpu,
            "threads": torch.get_num_threads(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "models": {
            name: {
                "median_s": medians[name],
                "quartiles_s": statistics.quantiles(values, n=4)[::2],
                "ratio_to_last": medians[name] / peer,
                "rounds": len(values),
            }
            for name, values in times.items()
        },
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = info.read_text().splitlines() if info.is_file() else []
    found = [line.partition(":")[2].strip() for line in names if line.startswith("model name")]
    return found[0] if found else platform.processor()


def build_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser(
        "centernet2 benchmark",
        "Time models against each other, in turns, on images of their own data sets.",
        _EXAMPLES,
    )
    parser.add_argument("mode", choices=["train", "inference"])
    parser.add_argument("configs", nargs="+", help="config files; the last one is the peer")
    parser.add_argument(
        "--repeat", type=positive, default=15, metavar="N", help="rounds (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="CPU threads (default: PyTorch's)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--opts", nargs="*", default=[], metavar="KEY VALUE", help="for all")
    return parser


def run(options: argparse.Namespace) -> int:
    """Measure, print.

    Returns:
        The exit status.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        steps = {
            Path(c).stem: prepare(c, options.mode, options.opts, options.repeat + WARM_UP)
            for c in options.configs
        }
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    result = report(options.mode, measure(steps, options.repeat))
    print(", ".join(f"{k} {v}" for k, v in result["machine"].items()))
    for name, row in result["models"].items():
        low, high = row["quartiles_s"]
        print(
            f"{name:45} {row['median_s']:.3f} s  ({low:.3f} - {high:.3f})  "
            f"x{row['ratio_to_last']:.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))
    return 0
