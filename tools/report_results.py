#!/usr/bin/env python3
"""Report on detections in a COCO results file.

python tools/report_results.py results.json --annotations val.json --output report/ --images val/
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from centernet2.engine.storage import refusal_told
from centernet2.errors import UserError
from centernet2.evaluation.report import write_report
from centernet2.inference.cases import draw_case


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, write the report, say where.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="Report on detections in a COCO results file.")
    parser.add_argument("results", type=Path, help="COCO or LVIS results file")
    parser.add_argument(
        "--annotations", type=Path, required=True, help="COCO or LVIS annotation file"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the report")
    parser.add_argument(
        "--images", type=Path, help="folder of the images: draws the best and the worst of them"
    )
    parser.add_argument(
        "--score-threshold",
        type=float,
        default=0.3,
        help="of the confusion matrix, the images and what is called confident (0.3)",
    )
    parser.add_argument(
        "--recall", type=Path, help="what tools/proposal_recall.py --json wrote: shown on the page"
    )
    options = parser.parse_args(arguments)
    try:
        with refusal_told(f"--output {options.output}"):
            write_report(
                options.results,
                options.annotations,
                options.output,
                score_threshold=options.score_threshold,
                images=options.images,
                draw=draw_case,
                recall=options.recall,
            )
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(options.output / "report.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
