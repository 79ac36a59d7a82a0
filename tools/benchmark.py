#!/usr/bin/env python3
"""``centernet2 benchmark`` from a checkout: python tools/benchmark.py train a.yaml b.yaml"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from centernet2.cli.benchmark import build_parser, run

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status.
    """
    return run(build_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
