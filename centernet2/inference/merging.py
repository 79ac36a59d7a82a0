"""The record files of a run as JSON files of COCO's formats."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pycocotools import mask as coco_mask

from centernet2.engine.atomic import atomic_write
from centernet2.inference.records import read_record, record_files, scan_records
from centernet2.inference.results import image_ids

__all__ = ["Index", "Written", "coco_annotation", "index_records", "write_coco"]


@dataclasses.dataclass(frozen=True)
class Written:
    """Files with the results of a run.

    Attributes:
        document: a COCO data set (``images``, ``annotations``, ``categories``), as annotation tools
            and ``COCO()`` take it; each annotation has its ``score``.
        results: COCO results, the list that ``COCO.loadRes`` takes.
        images: number of images in them.
        objects: number of objects in them.
    """

    document: Path
    results: Path
    images: int
    objects: int


@dataclasses.dataclass(frozen=True)
class Index:
    """Where the record of each image is.

    Attributes:
        finished: file and offset of each image's line.
        failed: error of each image that could not be used and was not finished since.
    """

    finished: dict[str, tuple[Path, int]]
    failed: dict[str, str]

    def covers(self, names: Sequence[str]) -> bool:
        """Whether every image is finished or failed."""
        return all(name in self.finished or name in self.failed for name in names)


def index_records(folder: Path) -> Index:
    """Read the record files of all processes that there are by now."""
    finished: dict[str, tuple[Path, int]] = {}
    failed: dict[str, str] = {}
    for path in record_files(folder):
        for offset, content in scan_records(path):
            name = content.get("file_name")
            if name is None:
                continue
            if "error" in content:
                failed[name] = content["error"]
            else:
                finished[name] = (path, offset)
    for name in finished.keys() & failed.keys():
        del failed[name]
    return Index(finished, failed)


def write_coco(
    index: Index, names: Sequence[str], categories: Sequence[dict[str, Any]], folder: Path
) -> Written:
    """Write what was found on images in COCO's formats, whole or not at all.

    Args:
        index: of the records.
        names: of the images, in order; those that failed get no entry, but keep their id.
        categories: ``id`` and ``name`` of each class.
        folder: of the two files.

    Returns:
        ``detections.json`` and ``results.json`` in the folder.
    """
    document, results = folder / "detections.json", folder / "results.json"
    images: list[str] = []
    number = 0
    with contextlib.ExitStack() as stack:
        whole, entries = (stack.enter_context(atomic_write(p, "w")) for p in (document, results))
        places = {path for path, _ in index.finished.values()}
        files = {path: stack.enter_context(path.open("rb")) for path in places}
        whole.write('{"annotations": [')
        entries.write("[")
        for name, image_id in zip(names, image_ids([PurePosixPath(name) for name in names])):
            if name not in index.finished:
                continue
            path, offset = index.finished[name]
            record = read_record(files[path], offset)
            size = {key: record[key] for key in ("width", "height")}
            images.append(json.dumps({"id": image_id, "file_name": name, **size}))
            for found in record["detections"]:
                number += 1
                separator = ",\n" if number > 1 else "\n"
                entry = {"image_id": image_id, "file_name": name, **found}
                entries.write(separator + json.dumps(entry))
                whole.write(separator + json.dumps(coco_annotation(number, image_id, found)))
        entries.write("\n]\n")
        whole.write('\n],\n"images": [\n' + ",\n".join(images))
        whole.write('\n],\n"categories": ' + json.dumps(list(categories)) + "}\n")
    return Written(document, results, len(images), number)


def coco_annotation(number: int, image_id: int, found: dict[str, Any]) -> dict[str, Any]:
    """An entry of COCO results as an annotation of a COCO data set, with its score.

    Args:
        number: of the annotation, from 1.
        image_id: of its image.
        found: the entry.
    """
    if "segmentation" in found:
        area = float(coco_mask.area(found["segmentation"]))
    else:
        area = found["bbox"][2] * found["bbox"][3]
    return {"id": number, "image_id": image_id, **found, "area": area, "iscrowd": 0}
