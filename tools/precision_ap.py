#!/usr/bin/env python3
"""What half precision costs: AP of detectors evaluated with each TEST.PRECISION.

    python tools/precision_ap.py --config-file a.yaml --weights a.pth --precision float32 bfloat16

prints the metrics of DATASETS.TEST in each precision. Few CPUs compute in float16: on others it is
tens of times as slow as float32, so take few images and small ones, or a GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode
from tabulate import tabulate

from centernet2.cli.ending import exit_status
from centernet2.engine import Trainer
from centernet2.engine.precision import inference_dtype
from centernet2.modeling.inference_form import to_inference_form
from proposal_recall import add_model_options, load_model, read_models

__all__ = ["PRECISIONS", "evaluate", "main"]

PRECISIONS = ("float32", "bfloat16", "float16")


def evaluate(cfg: CfgNode, precisions: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Metrics of a config's model on DATASETS.TEST, by precision.

    Args:
        cfg: MODEL.WEIGHTS are loaded for each.
        precisions: values of TEST.PRECISION.

    Returns:
        {precision: what :meth:`Trainer.test` returns}.

    Raises:
        UserError: see :meth:`Trainer.test`.
    """
    results = {}
    for name in precisions:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.TEST.PRECISION = name
        model = to_inference_form(load_model(cfg), inference_dtype(cfg))
        results[name] = Trainer.test(cfg, model)
    return results


def table(found: dict[str, dict[str, Any]]) -> str:
    """Rows of precisions, columns of metrics, in Markdown."""
    rows = [[name, *_flat(results).values()] for name, results in found.items()]
    header = ["precision", *_flat(next(iter(found.values())))]
    return tabulate(rows, header, tablefmt="github", floatfmt=".2f")


def _flat(results: dict[str, Any], prefix: str = "") -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in results.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{name}/"))
        else:
            flat[prefix + name] = value
    return flat


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, evaluate, print.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="AP of detectors in full and half precision.")
    add_model_options(parser)
    parser.add_argument(
        "--precision", nargs="+", choices=PRECISIONS, default=["float32", "bfloat16"]
    )
    options = parser.parse_args(arguments)

    def work() -> int:
        for name, cfg in read_models(options).items():
            print(f"{name}:\n\n{table(evaluate(cfg, options.precision))}\n")
        return 0

    return exit_status(work)


if __name__ == "__main__":
    raise SystemExit(main())
