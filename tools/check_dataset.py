#!/usr/bin/env python3
"""Find what is wrong with a data set in COCO's or LVIS's format, before training does.

python tools/check_dataset.py train.json images/
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from centernet2.data.doctor import check_dataset
from centernet2.data.doctor.summary import print_report
from centernet2.errors import UserError


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Find what is wrong with a data set in COCO's or LVIS's format.",
        epilog="Exit status: 0 without errors, 1 with errors in the data, 2 for a wrong command.",
    )
    parser.add_argument("annotations", type=Path, help="JSON file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings there")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, check, print.

    Returns:
        The exit status.
    """
    options = build_parser().parse_args(arguments)
    try:
        report = check_dataset(options.annotations)
        print_report(report, Console())
        if options.json is not None:
            text = json.dumps(report.as_json(), indent=1) + "\n"
            options.json.write_text(text, encoding="utf-8")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return report.exit_status


if __name__ == "__main__":
    sys.exit(main())
