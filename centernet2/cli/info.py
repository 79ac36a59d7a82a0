"""``centernet2 info``: the environment, the shipped models, and what a model is."""

from __future__ import annotations

import argparse

from centernet2.cli.arguments import new_parser
from centernet2.cli.ending import exit_status

__all__ = ["build_parser", "run"]

_EXAMPLES = """
examples:
  versions, devices, what is missing and the cure, the shipped models:
    centernet2 info
  a model's classes, size, input and weights:
    centernet2 info pedestrian
    centernet2 info output/mine

exit status: 0; 1 something is missing that nothing works without; 2 there is no such model.
"""


def build_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser(
        "centernet2 info", "What is installed, which models are there, what a model is.", _EXAMPLES
    )
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a shipped model, a config file, or the folder of a training run",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the options say.

    Returns:
        The exit status.
    """
    return exit_status(lambda: _environment() if args.model is None else _model(args.model))


def _environment() -> int:
    from centernet2 import env
    from centernet2.inference.zoo import shipped_models

    status = env.main()
    print(f"\nShipped models: {', '.join(shipped_models()) or 'none'}.")
    return status


def _model(name: str) -> int:
    # Imported here, because the environment's report works without them
    from centernet2.inference.detector import load_predictor
    from centernet2.inference.model_card import describe_model

    lines = describe_model(load_predictor(name, device="cpu", score_thresh=None))
    width = max(map(len, lines))
    print("\n".join(f"{title:<{width}}  {text}" for title, text in lines.items()))
    return 0
