"""``centernet2 train``: what ``train_net.py`` does."""

from __future__ import annotations

import argparse

import centernet2.data
import centernet2.modeling  # noqa: F401  (registers the models, as the line above the data sets)
from centernet2.engine import Trainer, argument_parser, evaluate_checkpoint, launch, setup
from centernet2.inference.cases import draw_case

__all__ = ["build_parser", "run", "train_or_evaluate"]


def build_parser() -> argparse.ArgumentParser:
    """Options of the command: those of ``train_net.py``."""
    parser = argument_parser()
    parser.prog = "centernet2 train"
    examples = (parser.epilog or "").replace("python train_net.py", parser.prog)
    parser.epilog = examples.replace(" train_net.py", f" -m {parser.prog}")  # torchrun's
    return parser


def run(args: argparse.Namespace) -> int:
    """Train, or with ``--eval-only`` evaluate, in as many processes as the options ask for.

    Returns:
        The exit status.
    """
    return launch(train_or_evaluate, args)


def train_or_evaluate(args: argparse.Namespace) -> None:
    """Do what the options say; run in each process."""
    cfg = setup(args)
    if args.eval_only:
        evaluate_checkpoint(cfg, resume=args.resume, config_file=args.config_file, draw=draw_case)
        return
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()
