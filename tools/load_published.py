#!/usr/bin/env python3
"""Check a checkpoint of the published release, or of any program, against a config; convert it.

    python tools/load_published.py --config-file configs/CenterNet2_R50_1x.yaml \\
        --weights CenterNet2_R50_1x.pth --output CenterNet2_R50_1x.safetensors

exit codes: 0 every weight of the model is in the file and no other, 1 they differ, 2 the file or
the config cannot be used.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import centernet2  # noqa: F401  (registers the models)
from centernet2.engine import build_cfg
from centernet2.engine.published import PublishedModel, read_published, write_model
from centernet2.errors import UserError

SHOWN = 10


def get_parser() -> argparse.ArgumentParser:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="YAML of the model")
    parser.add_argument(
        "--weights", required=True, metavar="FILE", help=".pth, .pkl of a model zoo, .safetensors"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write the weights as .safetensors with a card"
    )
    parser.add_argument("--all", action="store_true", help=f"list all names, not {SHOWN} a kind")
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="changes to the configuration, such as MODEL.ROI_HEADS.NUM_CLASSES 10",
    )
    return parser


def report(published: PublishedModel, shown: int | None) -> list[str]:
    """Lines that say what matches.

    Args:
        published: the model with the file's weights.
        shown: names listed of each kind; None: all.
    """
    rows = published.modules()
    width = max(len("module"), *(len(row.module) for row in rows))
    titles = ("in model", "loaded", "missing", "reshaped", "unexpected")
    lines = [f"{'module':<{width}}  " + "  ".join(f"{t:>10}" for t in titles)]
    for row in rows:
        lines.append(f"{row.module:<{width}}  " + "  ".join(f"{n:>10}" for n in row[1:]))
    total = [sum(column) for column in zip(*(row[1:] for row in rows))]
    lines.append(f"{'total':<{width}}  " + "  ".join(f"{n:>10}" for n in total))
    match = published.match
    reshaped = [f"{name} {a} in the file, {b} in the model" for name, a, b in match.reshaped]
    for kind, names in (
        ("missing", match.missing),
        ("reshaped", reshaped),
        ("unexpected", match.unexpected),
        ("re-initialised (number of classes)", match.aside.layers),
        ("left out (entries of older files)", match.aside.left_over),
    ):
        lines += _listed(kind, names, shown)
    return lines


def _listed(kind: str, names: Sequence[str], shown: int | None) -> list[str]:
    if not names:
        return []
    lines = [f"{kind}: {len(names)}", *(f"  {name}" for name in names[:shown])]
    if len(names) > len(names[:shown]):
        lines.append(f"  and {len(names) - len(names[:shown])} more (--all lists them)")
    return lines


def run(options: argparse.Namespace) -> int:
    """Report and convert; returns the exit status.

    Raises:
        UserError: see :mod:`centernet2.engine.published`.
    """
    cfg = build_cfg(options.config_file, options.opts)
    published = read_published(cfg, options.weights)
    print("\n".join(report(published, None if options.all else SHOWN)))
    for warning in published.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    match = published.match
    exact = match.complete and not match.unexpected
    if exact:
        print(f"{options.weights} fits: it holds all {len(match.matched)} weights of the model.")
    else:
        print(f"{options.weights} differs from {options.config_file}, see above.")
    if options.output is not None:
        name = Path(options.config_file).name
        digest = write_model(published, cfg, name, options.output)
        size = options.output.stat().st_size / 2**20
        print(f"wrote {options.output} ({size:.1f} MiB, sha256 {digest})")
    return 0 if exact else 1


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    for name in ("centernet2", "detectron2", "fvcore"):
        logging.getLogger(name).addHandler(logging.NullHandler())  # the report says it all
    try:
        return run(get_parser().parse_args(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
