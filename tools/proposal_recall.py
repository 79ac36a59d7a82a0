#!/usr/bin/env python3
"""Recall of the first stage of detectors: CenterNet, an RPN, or another of Detectron2's.

    python tools/proposal_recall.py --config-file a.yaml --weights a.pth \
        --config-file b.yaml --weights b.pth --json recall.json --plot recall.png

prints AR@k, the recall of the objects by the best k proposals of an image, averaged over the IoUs
0.5, 0.55, ... 0.95, in percent, on DATASETS.TEST of each config. The first stage may hand on as
many proposals as the largest k (POST_NMS_TOPK_TEST); the other keys are the config's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from tabulate import tabulate
from torch import nn

import centernet2  # noqa: F401  (registers the models and data sets)
from centernet2.engine import Checkpointer, Trainer, build_cfg
from centernet2.engine.checks import check_test_sets
from centernet2.engine.defaults import choose_device
from centernet2.engine.diagnostics import out_of_memory_in_test
from centernet2.engine.testing import test_on
from centernet2.errors import UserError
from centernet2.evaluation.curves import write_picture
from centernet2.evaluation.proposal_plots import draw_recall
from centernet2.evaluation.proposals import (
    COUNTS,
    SIZES,
    ProposalEvaluator,
    ProposalRecall,
    first_stage,
)
from centernet2.evaluation.run_metrics import name_runs


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Options that name the detectors: see :func:`read_models`."""
    add = parser.add_argument
    several: dict[str, Any] = {"action": "append", "default": []}
    add("--config-file", required=True, help="of a detector; may be repeated", **several)
    add("--weights", help="one a config; default: the config's", **several)
    add("--name", help="one a config, in tables and pictures", **several)
    add("--opts", nargs="*", default=[], metavar="KEY VALUE", help="config keys, for all detectors")


def read_models(options: argparse.Namespace) -> dict[str, CfgNode]:
    """The configs that the command line asks for, by the names to show.

    Raises:
        UserError: for a mistake in them, or if there are not as many weights or names as configs.
    """
    files = options.config_file
    for option, values in (("--weights", options.weights), ("--name", options.name)):
        if values and len(values) != len(files):
            raise UserError(
                f"{option} is given {len(values)} times, --config-file {len(files)} times: give "
                "one for each config, in the same order, or none."
            )
    names = options.name or list(name_runs([_place(Path(file)) for file in files]))
    if len(set(names)) != len(files):
        raise UserError("Two detectors would have the same name: tell them apart with --name.")
    configs = {}
    for i, (name, file) in enumerate(zip(names, files)):
        cfg = build_cfg(file, options.opts)
        cfg.MODEL.WEIGHTS = options.weights[i] if options.weights else cfg.MODEL.WEIGHTS
        if not cfg.MODEL.WEIGHTS:
            raise UserError(f"{file} names no weights: add --weights for each config.")
        if not cfg.DATASETS.TEST:
            raise UserError(f"DATASETS.TEST of {file} is empty: name the data sets to evaluate.")
        check_test_sets(cfg)
        choose_device(cfg)
        configs[name] = cfg
    return configs


def _place(file: Path) -> Path:
    """What tells a config from others: its own name, or its run's folder."""
    return file.parent if file.name == "config.yaml" else file.with_suffix("")


def limit_proposals(cfg: CfgNode, count: int) -> CfgNode:
    """A copy of a config whose first stage hands on at most ``count`` proposals at test time."""
    cfg = cfg.clone()
    cfg.MODEL.CENTERNET.POST_NMS_TOPK_TEST = count
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = count
    return cfg


def load_model(cfg: CfgNode) -> nn.Module:
    """A config's model with its weights, in test mode."""
    model: nn.Module = Trainer.build_model(cfg)
    Checkpointer(model).load(cfg.MODEL.WEIGHTS)
    return model.eval()


def measure(cfg: CfgNode, counts: Sequence[int]) -> dict[str, ProposalRecall]:
    """Recall of a config's first stage on each data set of DATASETS.TEST.

    Raises:
        UserError: if the detector has none, or a data set no images or annotations.
    """
    cfg = limit_proposals(cfg, max(counts))
    network = first_stage(load_model(cfg))
    recalls = {}
    for dataset in cfg.DATASETS.TEST:
        evaluator = ProposalEvaluator(dataset, counts)
        loader = Trainer.build_test_loader(cfg, dataset)
        test_on(network, loader, evaluator, None, out_of_memory_in_test(cfg))
        if evaluator.recall is None:
            raise UserError(f"Data set '{dataset}' has no images.")
        recalls[dataset] = evaluator.recall
    return recalls


def tables(recalls: dict[str, dict[str, ProposalRecall]]) -> str:
    """A table of AR@k for each data set, in Markdown."""
    texts = []
    for dataset, found in recalls.items():
        rows = [
            [name if size == "all" else "", size, recall.objects[size], *recall.average(size)]
            for name, recall in found.items()
            for size in SIZES
        ]
        counts = next(iter(found.values())).counts
        header = ["first stage", "size", "objects", *(f"AR@{count}" for count in counts)]
        table = tabulate(rows, header, tablefmt="github", floatfmt=".1f")
        texts.append(f"{dataset}:\n\n{table.replace('nan', '  –')}\n")
    return "\n".join(texts)


def as_json(recalls: dict[str, dict[str, ProposalRecall]]) -> dict[str, Any]:
    """All figures; recall in [0, 1] over (k, IoU), null without objects."""
    return {
        dataset: {
            name: {
                "proposals_per_image": recall.proposals,
                "counts": recall.counts,
                "ious": [round(iou, 2) for iou in recall.ious],
                "objects": recall.objects,
                "recall": {
                    size: values.tolist() if recall.objects[size] else None
                    for size, values in recall.recall.items()
                },
                "average_recall": {
                    size: recall.average(size).tolist() if recall.objects[size] else None
                    for size in SIZES
                },
            }
            for name, recall in found.items()
        }
        for dataset, found in recalls.items()
    }


def write_json(content: Any, output: Path) -> None:
    """Write a JSON file.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"Cannot write {output}: {error.strerror}.") from error


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, measure, print.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="Recall of the first stage of detectors.")
    add_model_options(parser)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="values of k")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--plot", type=Path, help="draw recall over k and over IoU")
    options = parser.parse_args(arguments)
    try:
        if min(options.counts) < 1:
            raise UserError(f"--counts has {min(options.counts)}: give numbers from 1 on.")
        recalls: dict[str, dict[str, ProposalRecall]] = {}
        for name, cfg in read_models(options).items():
            for dataset, recall in measure(cfg, options.counts).items():
                recalls.setdefault(dataset, {})[name] = recall
        print(tables(recalls))
        if options.json:
            write_json(as_json(recalls), options.json)
        if options.plot:
            for dataset, found in recalls.items():
                name = f"_{dataset}" if len(recalls) > 1 else ""
                output = options.plot.with_name(f"{options.plot.stem}{name}{options.plot.suffix}")
                write_picture(draw_recall(found, max(options.counts)), output)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
