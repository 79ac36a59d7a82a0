#!/usr/bin/env python3
"""Write a data set in YOLO's, Pascal VOC's or LabelMe's format as a JSON file in COCO's.

train_net.py --data JSON FOLDER trains on it.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from centernet2.data.converters import convert_labelme, convert_voc, convert_yolo
from centernet2.data.converters.images import one_image_folder
from centernet2.engine.atomic import atomic_write
from centernet2.errors import UserError

_READERS = {"yolo": convert_yolo, "voc": convert_voc, "labelme": convert_labelme}


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
        help="auto (default): yolo if the folder has a data.yaml, voc if it has XML files, else "
        "labelme",
    )
    options = parser.parse_args(arguments)
    folder, output = options.folder, options.output
    kind = options.format
    if kind == "auto":
        has_xml = any(folder.rglob("*.xml"))
        kind = "voc" if has_xml else "labelme"
        kind = "yolo" if (folder / "data.yaml").is_file() else kind
    read = _READERS[kind]
    if kind == "labelme":
        read = partial(convert_labelme, embedded=output.with_name(f"{output.stem}_images"))
    try:
        if not folder.is_dir():
            raise UserError(f"There is no folder {folder}.")
        data = read(folder, options.split)
        images = one_image_folder(data, folder)
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
