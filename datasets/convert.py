#!/usr/bin/env python3
"""Write a data set in YOLO's format as a JSON file in COCO's: train_net.py --data JSON FOLDER."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from centernet2.data.converters import convert_yolo
from centernet2.engine.atomic import atomic_write
from centernet2.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Convert one split; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="of the data set, with data.yaml")
    parser.add_argument("output", type=Path, help="JSON file to write")
    parser.add_argument("--split", default="train", help="train (default), val or test")
    options = parser.parse_args(arguments)
    try:
        data = convert_yolo(options.folder, options.split)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    with atomic_write(options.output, "w") as file:
        json.dump(data, file)
    print(
        f"{options.output}: {len(data['images'])} images, {len(data['annotations'])} objects, "
        f"{len(data['categories'])} classes; its image folder is {options.folder}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
