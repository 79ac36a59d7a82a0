#!/usr/bin/env python3
"""Write a data set in YOLO's, Pascal VOC's or LabelMe's format as a JSON file in COCO's.

train_net.py --data JSON FOLDER trains on it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from centernet2.data.converters.images import one_image_folder
from centernet2.data.converters.recognise import Source, recognise
from centernet2.data.converters.yolo import description_file
from centernet2.engine.atomic import atomic_write
from centernet2.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Convert one split; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the data set, or its data.yaml")
    parser.add_argument("output", type=Path, help="JSON file to write")
    parser.add_argument("--split", default="train", help="train (default), val or test")
    parser.add_argument(
        "--format",
        choices=["auto", "yolo", "voc", "labelme"],
        default="auto",
        help="auto (default): what the folder holds",
    )
    options = parser.parse_args(arguments)
    folder, output, kind = options.folder, options.output, options.format
    try:
        if kind == "auto":
            source = recognise(folder)
        elif folder.exists():
            source = Source(kind, description_file(folder) if kind == "yolo" else folder)
        else:
            raise UserError(f"There is no folder {folder}.")
        data = source.convert(options.split, output.with_name(f"{output.stem}_images"))
        images = one_image_folder(data, source.folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    with atomic_write(output, "w") as file:
        json.dump(data, file)
    print(
        f"{output}: {len(data['images'])} images, {len(data['annotations'])} objects, "
        f"{len(data['categories'])} classes; its image folder is {images}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
