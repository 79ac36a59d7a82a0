#!/usr/bin/env python
"""Train or evaluate a detector: ``python train_net.py --help``."""

from __future__ import annotations

import sys

from centernet2.cli.train import train_or_evaluate
from centernet2.engine import argument_parser, launch

if __name__ == "__main__":
    sys.exit(launch(train_or_evaluate, argument_parser().parse_args()))
