#!/usr/bin/env python
"""Train or evaluate a detector: ``python train_net.py --help``."""

from __future__ import annotations

import argparse
import sys

import centernet2  # noqa: F401  (registers the models and data sets)
from centernet2.engine import Trainer, argument_parser, evaluate_checkpoint, launch, setup
from centernet2.inference.cases import draw_case


def main(args: argparse.Namespace) -> None:
    """Run in each process."""
    cfg = setup(args)
    if args.eval_only:
        evaluate_checkpoint(cfg, resume=args.resume, config_file=args.config_file, draw=draw_case)
        return
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()


if __name__ == "__main__":
    sys.exit(launch(main, argument_parser().parse_args()))
