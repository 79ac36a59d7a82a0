#!/usr/bin/env python
"""Write a glyph data set of any size, or draw samples of it."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from pathlib import Path

from centernet2.data.datasets import datasets_root
from centernet2.data.glyphs import MAX_CATEGORIES, VARIANTS, GlyphConfig, ensure_written
from centernet2.data.glyphs.draw import contact_sheet
from centernet2.errors import UserError

EXAMPLES = """\
examples:
  # one of the registered data sets, by all cores
  python datasets/prepare_glyphs.py --variant glyphs_1203 --workers 16

  # 200 categories in larger images, everything labelled (COCO)
  python datasets/prepare_glyphs.py --name glyphs_200 --categories 200 --train 5000 --val 500 \\
      --size 480 640

  # a long tail with federated labels (LVIS v1)
  python datasets/prepare_glyphs.py --name glyphs_600 --categories 600 --style lvis \\
      --frequencies long_tailed

  # look at 12 samples with their boxes and masks; nothing else is written
  python datasets/prepare_glyphs.py --variant glyphs_80 --draw 12 --output glyphs.png
"""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; what is left out keeps the variant's value."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [config.name for config in VARIANTS]
    parser.add_argument(
        "--variant", choices=names, default="glyphs_80", help="settings to start from (glyphs_80)"
    )
    parser.add_argument("--name", help="folder to write; needed when a setting is changed")
    parser.add_argument("--categories", type=int, metavar="N", help=f"1 to {MAX_CATEGORIES:,}")
    parser.add_argument("--train", type=int, metavar="N", help="training images")
    parser.add_argument("--val", type=int, metavar="N", help="validation images")
    pair = {"type": int, "nargs": 2, "metavar": ("MIN", "MAX")}
    parser.add_argument("--size", **pair, help="sides of the images, pixels")
    parser.add_argument("--objects", **pair, help="objects in an image")
    parser.add_argument("--object-size", **pair, help="longer side of an object, pixels")
    parser.add_argument("--frequencies", help="of the categories: uniform or long_tailed")
    parser.add_argument("--style", help="of the labels: coco, or lvis (federated)")
    parser.add_argument("--seed", type=int, help="equal seeds give equal data sets")
    parser.add_argument(
        "--out", type=Path, help="folder to write into ($DETECTRON2_DATASETS, else ./datasets)"
    )
    parser.add_argument(
        "--workers", type=int, help="processes (default: the number of cores, up to 8)"
    )
    parser.add_argument("--draw", type=int, metavar="N", help="draw N labelled samples instead")
    parser.add_argument(
        "--output", type=Path, default=Path("glyphs.png"), help="picture of --draw (glyphs.png)"
    )
    return parser.parse_args(arguments)


def settings(args: argparse.Namespace) -> GlyphConfig:
    """The data set that the command line asks for.

    Raises:
        ValueError: a setting is out of range, or a changed variant has no name of its own.
    """
    given = {
        "num_categories": args.categories,
        "num_train": args.train,
        "num_val": args.val,
        "image_size": args.size and tuple(args.size),
        "objects_per_image": args.objects and tuple(args.objects),
        "object_size": args.object_size and tuple(args.object_size),
        "frequencies": args.frequencies,
        "style": args.style,
        "seed": args.seed,
    }
    variant = next(config for config in VARIANTS if config.name == args.variant)
    changes = {key: value for key, value in given.items() if value is not None}
    config = dataclasses.replace(variant, name=args.name or variant.name, **changes)
    if args.draw is None and config != variant and config.name == variant.name:
        raise ValueError(
            f"the registered data set {variant.name} has fixed settings: give yours a name of its "
            "own by --name"
        )
    return config


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = parse(arguments)
    try:
        config = settings(args)
        if args.draw is not None:
            contact_sheet(config, args.draw).save(args.output)
            print(f"Drew {args.draw} samples of {config.name} to {args.output}")
            return 0
        folder = ensure_written(config, args.out or datasets_root(), args.workers)
        print(f"{config.name}: {config.num_train:,} + {config.num_val:,} images in {folder}")
    except (UserError, ValueError, OSError) as error:
        print(f"prepare_glyphs.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
