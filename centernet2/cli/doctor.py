"""``centernet2 doctor``: what is wrong with a data set, before training finds out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from centernet2.cli.arguments import new_parser
from centernet2.data.doctor import check_dataset
from centernet2.data.doctor.fixing import write_cleaned
from centernet2.data.doctor.page import write_page
from centernet2.data.doctor.summary import print_report
from centernet2.errors import UserError

__all__ = ["build_parser", "run"]

_EXAMPLES = """
examples:
  a training set, and what it shares with the validation set:
    centernet2 doctor train.json images/ --val val.json images/
  a page with thumbnails of what was found, and cleaned copies of the files:
    centernet2 doctor train.json images/ --html findings.html --fix cleaned/

exit status: 0 without errors, 1 with errors in the data, 2 for a wrong command.
"""


def build_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser(
        "centernet2 doctor",
        "Find what is wrong with a data set in COCO's or LVIS's format.",
        _EXAMPLES,
    )
    parser.add_argument("annotations", type=Path, help="JSON file")
    parser.add_argument("images", type=Path, nargs="?", help="folder of its images")
    parser.add_argument(
        "--val",
        type=Path,
        nargs="+",
        metavar=("JSON", "IMAGES"),
        help="validation set, checked too, and for images that are in both",
    )
    parser.add_argument("--no-images", action="store_true", help="open no image")
    parser.add_argument(
        "--fix", type=Path, metavar="FOLDER", help="write cleaned copies of the JSON files there"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with thumbnails")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings there")
    return parser


def run(options: argparse.Namespace) -> int:
    """Check, print.

    Returns:
        The exit status.
    """
    parser = build_parser()
    val = options.val or []
    if len(val) > 2:
        parser.error("--val takes a JSON file and a folder of images")
    if not options.no_images and (options.images is None or len(val) == 1):
        parser.error("name the folder of images after each JSON file, or give --no-images")
    root, val_root = options.images, val[1] if len(val) == 2 else None
    if options.no_images:
        root = val_root = None
    try:
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("images", total=None, visible=not options.no_images)
            report = check_dataset(
                options.annotations,
                root,
                val[0] if val else None,
                val_root,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        print_report(report, Console())
        if options.json is not None:
            text = json.dumps(report.as_json(), indent=1) + "\n"
            options.json.write_text(text, encoding="utf-8")
        if options.html is not None:
            pairs = ((options.annotations, root), (val[0] if val else None, val_root))
            write_page(report, options.html, {str(j): r for j, r in pairs if r is not None})
            print(options.html)
        if options.fix is not None:
            for path in write_cleaned(report, [options.annotations, *val[:1]], options.fix):
                print(path)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"cannot write {error.filename} ({error.strerror})", file=sys.stderr)
        return 2
    return report.exit_status
