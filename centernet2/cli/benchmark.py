"""``centernet2 benchmark``: models timed against each other in one process, in turns."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from centernet2.benchmarks.growth import draw_growth, measure_growth
from centernet2.benchmarks.memory import peak_bytes
from centernet2.benchmarks.models import (
    TREATMENTS,
    Scene,
    inference_step,
    read_contestants,
    train_step,
)
from centernet2.benchmarks.stages import count_proposals, measure_stages
from centernet2.benchmarks.targets import TargetCase, target_steps
from centernet2.benchmarks.timing import WARM_UP, Times, machine, measure, ratio, summary
from centernet2.cli.arguments import new_parser, positive
from centernet2.cli.ending import exit_status
from centernet2.cli.output_files import check_place, write_json
from centernet2.errors import UserError
from centernet2.evaluation.curves import check_picture_name, write_picture

__all__ = ["build_parser", "run"]

_EXAMPLES = f"""
what is measured:
    inference   one batch through each model        train    one step of training of each
    stages      where a model's time goes           targets  heatmap targets and loss, no network
    growth      time over resolution, batch, objects and classes

examples:
    centernet2 benchmark train configs/a.yaml configs/b.yaml
    centernet2 benchmark inference configs/a.yaml configs/b.yaml --repeat 30 --json out.json
    centernet2 benchmark inference configs/a.yaml+fused configs/b.yaml --size 800 1216
    centernet2 benchmark train configs/a.yaml+bf16 configs/b.yaml --size 800 1216 --batch 2 --memory
    centernet2 benchmark targets --boxes 200 --classes 1 1203
    centernet2 benchmark growth configs/a.yaml --plot growth.png

Each round times one step of every model on the same images, so that whatever else the machine does
hits all alike; the last model is the peer of the ratios, which are medians over the rounds. Without
--size the images are those of the configs' data sets, else random ones. A model is a config file,
detectron2:NAME for one that comes with Detectron2 (Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml), or
torchvision:NAME for a detector of torchvision, and may be treated:
{chr(10).join(f"    +{name:14}{text}" for name, text in TREATMENTS.items())}

exit status: 0 done, 2 a mistake in options or configs.
"""


def build_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser(
        "centernet2 benchmark",
        "Time models against each other, in turns, in one process.",
        _EXAMPLES,
    )
    modes = ["inference", "train", "stages", "targets", "growth"]
    parser.add_argument("mode", choices=modes, help="what is measured, see below")
    parser.add_argument(
        "configs", nargs="*", metavar="CONFIG[+TREATMENT]", help="models; the last one is the peer"
    )
    parser.add_argument(
        "--repeat", type=positive, default=15, metavar="N", help="rounds (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="CPU threads (default: PyTorch's)"
    )
    parser.add_argument(
        "--size", type=positive, nargs=2, metavar=("H", "W"), help="random images of H x W pixels"
    )
    parser.add_argument(
        "--batch", type=positive, default=1, metavar="N", help="such images at once (default: 1)"
    )
    parser.add_argument(
        "--boxes",
        type=positive,
        default=20,
        metavar="N",
        help="objects of a random image, for train and targets (default: %(default)s)",
    )
    parser.add_argument(
        "--classes",
        type=positive,
        nargs="+",
        default=[1],
        metavar="N",
        help="of the heatmaps, for targets; 1 is class-agnostic (default: 1)",
    )
    parser.add_argument(
        "--memory", action="store_true", help="peak memory too, each in a fresh process"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves of growth there")
    parser.add_argument("--opts", nargs="*", default=[], metavar="KEY VALUE", help="for all")
    return parser


def run(options: argparse.Namespace) -> int:
    """Measure, print.

    Returns:
        The exit status.
    """
    return exit_status(lambda: _benchmark(options))


def _benchmark(options: argparse.Namespace) -> int:
    if not options.configs and options.mode != "targets":
        raise UserError(f"centernet2 benchmark {options.mode}: name a config file or more.")
    if options.plot and options.mode != "growth":
        raise UserError("--plot draws what `centernet2 benchmark growth` measures.")
    for path in filter(None, [options.json, options.plot]):
        check_place(path)
    if options.plot:
        check_picture_name(options.plot)
    if options.threads:
        torch.set_num_threads(options.threads)
    result = {"mode": options.mode, "machine": machine(), **_MEASURES[options.mode](options)}
    print(", ".join(f"{k} {v}" for k, v in result["machine"].items()))
    if options.json:
        write_json(result, options.json)
    return 0


def _models(options: argparse.Namespace) -> dict[str, Any]:
    contestants = read_contestants(options.configs, options.mode)
    scene = _scene(options)
    build = train_step if options.mode == "train" else inference_step
    rounds = options.repeat + WARM_UP
    built = {c.name: build(c, options.opts, rounds, scene) for c in contestants}
    rows = _compare(measure({name: step for name, (step, _) in built.items()}, options.repeat))
    for name, (step, model) in built.items():
        rows[name]["proposals"] = count_proposals(step, model)
    if options.memory:
        built.clear()
        for contestant in contestants:
            arguments = (contestant, options.opts, 2, scene)
            rows[contestant.name]["peak_mb"] = peak_bytes(build, arguments) / 2**20
    _print(rows)
    return {"scene": asdict(scene) if scene else None, "models": rows}


def _stages(options: argparse.Namespace) -> dict[str, Any]:
    result = {}
    for contestant in read_contestants(options.configs, "inference"):
        step, model = inference_step(
            contestant, options.opts, options.repeat + WARM_UP, _scene(options)
        )
        parts = measure_stages(step, model, options.repeat)
        rows = _compare(parts)
        rows["total"]["proposals"] = count_proposals(step, model)
        print(contestant.name)
        _print(rows)
        result[contestant.name] = rows
    return {"models": result}


def _targets(options: argparse.Namespace) -> dict[str, Any]:
    size = tuple(options.size) if options.size else (800, 1216)
    rows: dict[str, Any] = {}
    for classes in options.classes:
        case = TargetCase(size, 2 if options.batch == 1 else options.batch, options.boxes, classes)
        steps = target_steps(case)
        found = {name: _figures(times) for name, times in measure(steps, options.repeat).items()}
        if options.memory:
            peak = peak_bytes(_both_steps, (case,)) / 2**20
            found = {name: {**row, "peak_mb": peak} for name, row in found.items()}
        rows.update(found)
    _print(rows)
    return {"cases": rows}


def _both_steps(case: TargetCase) -> Any:
    assign, learn = target_steps(case).values()
    return lambda i: (assign(i), learn(i))


def _growth(options: argparse.Namespace) -> dict[str, Any]:
    contestants = read_contestants(options.configs, "inference")
    axes = measure_growth(contestants, options.opts, options.repeat)
    for axis in axes:
        print(f"{axis.what}, over {axis.quantity}: ms")
        print(" " * 45 + "".join(f"{value:10g}" for value in axis.values))
        for name, points in axis.curves.items():
            print(f"{name:45}" + "".join(f"{1000 * p['median_s']:10.1f}" for p in points))
    if options.plot:
        write_picture(draw_growth(axes), options.plot)
    return {"axes": [asdict(axis) for axis in axes]}


_MEASURES = {
    "inference": _models,
    "train": _models,
    "stages": _stages,
    "targets": _targets,
    "growth": _growth,
}


def _scene(options: argparse.Namespace) -> Scene | None:
    if options.size is None:
        return None
    return Scene(tuple(options.size), options.batch, options.boxes)


def _figures(times: Times) -> dict[str, Any]:
    return {**summary(times.wall), "process": summary(times.process)}


def _compare(times: dict[str, Times]) -> dict[str, Any]:
    peer = list(times.values())[-1]
    return {
        name: {
            **_figures(mine),
            "ratio_to_last": ratio(mine.wall, peer.wall),
            "process_ratio_to_last": ratio(mine.process, peer.process),
        }
        for name, mine in times.items()
    }


def _print(rows: dict[str, dict[str, Any]]) -> None:
    width = max(map(len, rows))
    for name, row in rows.items():
        low, high = row["quartiles_s"]
        line = (
            f"{name:{width}}  {1000 * row['median_s']:8.1f} ms ({1000 * low:.1f} - "
            f"{1000 * high:.1f}), CPU {1000 * row['process']['median_s']:.1f} ms"
        )
        if "ratio_to_last" in row:
            line += f"  x{row['ratio_to_last']:.2f}, CPU x{row['process_ratio_to_last']:.2f}"
        if row.get("proposals") is not None:
            line += f"  {row['proposals']} proposals"
        if "peak_mb" in row:
            line += f"  peak {row['peak_mb']:.0f} MB"
        print(line)
