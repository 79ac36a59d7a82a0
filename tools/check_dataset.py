#!/usr/bin/env python3
"""``centernet2 doctor`` from a checkout: python tools/check_dataset.py train.json images/"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from centernet2.cli.doctor import build_parser, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status.
    """
    return run(build_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
