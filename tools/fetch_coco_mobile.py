#!/usr/bin/env python3
"""Fetch what trainings and tests of this repository need of the model coco-mobile.

    python tools/fetch_coco_mobile.py

It writes ``weights/coco_mobile.safetensors``, the start of the configs with MobileNetV3, and keeps
the published files, ``centernet.json`` and ``centernet.bin``, in ``.cache/coco_mobile``, where a
test compares our network with the published graph. To use the model, ``centernet2 fetch
coco-mobile`` is enough. The package says MIT, the weights' own origin states no licence.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from centernet2.errors import UserError
from centernet2.inference.fetching import fetch_model

__all__ = ["GRAPH_FOLDER", "WEIGHTS", "main"]

REPO = Path(__file__).resolve().parent.parent
WEIGHTS = REPO / "weights" / "coco_mobile.safetensors"
GRAPH_FOLDER = REPO / ".cache" / "coco_mobile"


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, write the files, say where.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="default: %(default)s")
    parser.add_argument("--keep", type=Path, default=GRAPH_FOLDER, help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        weights = fetch_model("coco-mobile", options.output, options.keep)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{weights} and {options.keep} are written: MODEL.WEIGHTS {weights}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
