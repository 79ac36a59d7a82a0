#!/usr/bin/env python3
"""AP and time of two-stage detectors over the number of proposals that the second stage gets.

    python tools/proposal_count.py --config-file a.yaml --weights a.pth \
        --config-file b.yaml --weights b.pth --json counts.json --plot counts.png

Each detector is measured on DATASETS.TEST[0] with each number (POST_NMS_TOPK_TEST; the other keys
are the config's). Time is that of one image from the loader's tensor to the detections; all are
timed in turns in one process, so that whatever else the machine does hits all alike. Beside the
wall clock's time stands the process's own, in all threads, which other programs disturb less.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_proposal_generator
from tabulate import tabulate
from torch import nn

from centernet2.benchmarks.timing import WARM_UP, Step, finish, machine, summary
from centernet2.benchmarks.timing import measure as measure_time
from centernet2.engine import Trainer
from centernet2.engine.diagnostics import out_of_memory_in_test
from centernet2.engine.testing import test_on
from centernet2.errors import UserError
from centernet2.evaluation import build_evaluator
from centernet2.evaluation.curves import write_picture
from centernet2.evaluation.proposal_plots import draw_counts
from centernet2.evaluation.proposals import first_stage
from proposal_recall import (
    add_model_options,
    limit_proposals,
    load_model,
    read_models,
    write_json,
)
from proposal_recall import measure as measure_recall

COUNTS = (32, 64, 128, 256, 512, 1000)
COLUMNS = {"proposals": "handed on", "AR": "AR@k", "box": "box AP", "mask": "mask AP"}

Figures = dict[str, float]


class Detector:
    """A detector whose first stage hands on as many proposals as one likes."""

    def __init__(self, cfg: CfgNode, counts: Sequence[int]) -> None:
        """
        Raises:
            UserError: if there are no two stages, or the weights do not fit.
        """
        self.cfg = cfg
        self._model = load_model(cfg)
        device = first_stage(self._model).device
        if not hasattr(self._model, "roi_heads"):
            raise UserError(f"{type(self._model).__name__} has no second stage.")
        trained = self._model.proposal_generator.state_dict()
        shapes = self._model.backbone.output_shape()
        self._generators = {}
        for count in counts:
            generator = build_proposal_generator(limit_proposals(cfg, count), shapes)
            generator.load_state_dict(trained)
            self._generators[count] = generator.to(device).eval()

    def with_proposals(self, count: int) -> nn.Module:
        """The detector, with ``count`` proposals until this is called again."""
        self._model.proposal_generator = self._generators[count]
        return self._model


def accuracy(detector: Detector, count: int) -> Figures:
    """AP of a detector with a number of proposals, and how many it had on average."""
    cfg, model = detector.cfg, detector.with_proposals(count)
    dataset, found = cfg.DATASETS.TEST[0], []
    counter = model.proposal_generator.register_forward_hook(
        lambda _, __, output: found.extend(len(proposals) for proposals in output[0])
    )
    with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        evaluator = build_evaluator(cfg, dataset, folder)
        loader = Trainer.build_test_loader(cfg, dataset)
        results = test_on(model, loader, evaluator, None, out_of_memory_in_test(cfg))
    counter.remove()
    figures = {"proposals": sum(found) / len(found), "box": results["bbox"]["AP"]}
    return {**figures, "mask": results["segm"]["AP"]} if "segm" in results else figures


def durations(detectors: dict[str, Detector], counts: Sequence[int], repeat: int) -> dict[str, Any]:
    """Time of each detector with each number of proposals.

    Returns:
        "machine", and "wall" and "process": {name: {count: median and quartiles}}.
    """
    steps = {}
    for name, detector in detectors.items():
        loader = Trainer.build_test_loader(detector.cfg, detector.cfg.DATASETS.TEST[0])
        batches = list(islice(loader, WARM_UP + repeat))
        for count in counts:
            steps[f"{name} {count}"] = _step(detector, count, batches)
    times = measure_time(steps, repeat)
    result: dict[str, Any] = {"machine": machine()}
    for clock in ("wall", "process"):
        result[clock] = {
            name: {count: summary(getattr(times[f"{name} {count}"], clock)) for count in counts}
            for name in detectors
        }
    return result


def _step(detector: Detector, count: int, batches: list[Any]) -> Step:
    def step(i: int) -> None:
        model = detector.with_proposals(count)
        with torch.inference_mode():
            model(batches[i % len(batches)])
        finish(detector.cfg.MODEL.DEVICE)

    return step


def table(name: str, rows: dict[int, Figures]) -> str:
    """A Markdown table of one detector's figures, times in ms."""
    shown = {key: title for key, title in COLUMNS.items() if key in next(iter(rows.values()))}
    lines = [
        [k, *(row[key] for key in shown), 1000 * row["wall"], 1000 * row["process"]]
        for k, row in rows.items()
    ]
    header = ["k", *shown.values(), "ms", "CPU ms"]
    return f"{name}:\n\n{tabulate(lines, header, tablefmt='github', floatfmt='.1f')}\n"


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, measure, print.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        description="AP and time over the number of proposals that the second stage gets."
    )
    add_model_options(parser)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="of proposals")
    parser.add_argument("--repeat", type=int, default=30, help="images timed (default: 30)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--plot", type=Path, help="draw AP, recall and time over the number")
    options = parser.parse_args(arguments)
    counts = sorted(set(options.counts))
    try:
        if counts[0] < 1 or options.repeat < 2:
            raise UserError("--counts must be 1 or more each, and --repeat 2 or more.")
        configs = read_models(options)
        detectors = {name: Detector(cfg, counts) for name, cfg in configs.items()}
        times = durations(detectors, counts, options.repeat)
        rows: dict[str, dict[int, Figures]] = {}
        for name, detector in detectors.items():
            recall = measure_recall(detector.cfg, counts)[detector.cfg.DATASETS.TEST[0]]
            for count, average in zip(counts, recall.average()):
                print(f"AP of {name} with {count} proposals ...", file=sys.stderr)
                rows.setdefault(name, {})[count] = {
                    **accuracy(detector, count),
                    "AR": float(average),
                    "wall": times["wall"][name][count]["median_s"],
                    "process": times["process"][name][count]["median_s"],
                }
        print(", ".join(f"{key} {value}" for key, value in times["machine"].items()), end="\n\n")
        print("\n".join(table(name, found) for name, found in rows.items()))
        if options.json:
            datasets = {name: cfg.DATASETS.TEST[0] for name, cfg in configs.items()}
            write_json({"data_sets": datasets, "figures": rows, "times": times}, options.json)
        if options.plot:
            write_picture(draw_counts(rows), options.plot)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
