#!/usr/bin/env python3
"""Draw losses, learning rate and AP of one or several training runs.

python tools/plot_run.py output/CenterNet2_R50_1x
python tools/plot_run.py output/a output/b --output compared.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from centernet2.errors import UserError
from centernet2.evaluation.curves import plot_curves


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, draw, say where.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        description="Draw losses, learning rate and AP of training runs."
    )
    parser.add_argument("runs", type=Path, nargs="+", help="OUTPUT_DIR of each run")
    parser.add_argument("--output", type=Path, help="default: curves.png in the first run's folder")
    options = parser.parse_args(arguments)
    output = options.output or options.runs[0] / "curves.png"
    try:
        plot_curves({run.resolve().name: run for run in options.runs}, output)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
