#!/usr/bin/env python3
"""What half precision costs: AP of detectors evaluated in float32 and under autocast.

    python tools/precision_ap.py --config-file a.yaml --weights a.pth --precision float32 bfloat16

prints the metrics of DATASETS.TEST in each precision. Few CPUs compute in float16: on others it is
tens of times as slow as float32, so take few images and small ones, or a GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from tabulate import tabulate
from torch import nn

from centernet2.cli.ending import exit_status
from centernet2.engine import Trainer
from centernet2.modeling.inference_form import to_inference_form
from proposal_recall import add_model_options, load_model, read_models

__all__ = ["PRECISIONS", "evaluate", "main"]

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class InPrecision(nn.Module):
    """A model whose forward pass runs under autocast.

    Args:
        model: maps a batch to detections.
        device: where it is.
        dtype: of autocast; None: as the model is.
    """

    def __init__(self, model: nn.Module, device: torch.device, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.model = model
        self.device = device
        self.dtype = dtype

    def forward(self, batch: list[dict[str, Any]]) -> Any:
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            return self.model(batch)


def evaluate(cfg: CfgNode, precisions: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Metrics of a config's model on DATASETS.TEST, by precision.

    Args:
        cfg: MODEL.WEIGHTS are loaded once.
        precisions: names of :data:`PRECISIONS`.

    Returns:
        {precision: what :meth:`Trainer.test` returns}.

    Raises:
        UserError: see :meth:`Trainer.test`.
    """
    model = load_model(cfg)
    to_inference_form(model)
    device = torch.device(cfg.MODEL.DEVICE)
    return {
        name: Trainer.test(cfg, InPrecision(model, device, PRECISIONS[name])) for name in precisions
    }


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
