#!/usr/bin/env python3
"""Draw losses, learning rate and AP of one or several training runs.

python tools/plot_run.py output/CenterNet2_R50_1x
python tools/plot_run.py output/a output/b --output compared.png --html compared.html
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from centernet2.errors import UserError
from centernet2.evaluation.curves import SMOOTHING, draw_curves, write_page, write_picture
from centernet2.evaluation.run_metrics import Metrics, name_runs, read_metrics


def smoothing(text: str) -> float:
    """A number in [0, 1).

    Raises:
        ArgumentTypeError: if it is not.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number from 0 to below 1")
    return value


def read_runs(folders: list[Path]) -> dict[str, tuple[Path, Metrics]]:
    """Folder and metrics of each run by name; one that has none is left out with a warning.

    Raises:
        UserError: if no run has metrics.
    """
    runs, reasons = {}, []
    for name, folder in name_runs(folders).items():
        try:
            runs[name] = (folder, read_metrics(folder))
        except UserError as error:
            reasons.append(str(error))
    if not runs:
        raise UserError("\n".join(reasons))
    for reason in reasons:
        print(f"Left out: {reason}", file=sys.stderr)
    return runs


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, draw, say where.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        description="Draw losses, learning rate and AP of training runs."
    )
    parser.add_argument("runs", type=Path, nargs="+", help="OUTPUT_DIR of each run")
    parser.add_argument(
        "--output", type=Path, help="PNG, SVG or PDF; default: curves.png in the first run's folder"
    )
    parser.add_argument(
        "--html", type=Path, help="also write one page with the curves and a table of last values"
    )
    parser.add_argument(
        "--smoothing",
        type=smoothing,
        default=SMOOTHING,
        metavar="WEIGHT",
        help="of the past in the losses' moving average, from 0 (none) to below 1 "
        "(default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        runs = read_runs(options.runs)
        metrics = {name: found for name, (_, found) in runs.items()}
        first, _ = next(iter(runs.values()))
        output = options.output or first / "curves.png"
        figure = draw_curves(metrics, smoothing=options.smoothing)
        write_picture(figure, output)
        print(output)
        if options.html:
            write_page(metrics, figure, options.html)
            print(options.html)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
