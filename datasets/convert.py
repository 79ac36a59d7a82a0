#!/usr/bin/env python3
"""Write a data set in YOLO's or Pascal VOC's format as a JSON file in COCO's.

train_net.py --data JSON FOLDER trains on it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from centernet2.data.converters import convert_voc, convert_yolo
from centernet2.engine.atomic import atomic_write
from centernet2.errors import UserError

_READERS = {"yolo": convert_yolo, "voc": convert_voc}


def main(arguments: list[str] | None = None) -> int:
    """Convert one split; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the data set")
    parser.add_argument("output", type=Path, help="JSON file to write")
    parser.add_argument("--split", default="train", help="train (default), val or test")
    parser.add_argument(
        "--format",
        choices=["auto", *_READERS],
        default="auto",
        help="auto (default): yolo if the folder has a data.yaml, else voc",
    )
    options = parser.parse_args(arguments)
    kind = options.format
    if kind == "auto":
        kind = "yolo" if (options.folder / "data.yaml").is_file() else "voc"
    try:
        if not options.folder.is_dir():
            raise UserError(f"There is no folder {options.folder}.")
        data = _READERS[kind](options.folder, options.split)
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
