"""``--data FOLDER``: data sets of any known format, turned into the files that training reads."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from centernet2.data.converters.images import one_image_folder
from centernet2.data.converters.recognise import Source, recognise
from centernet2.data.datasets import register_custom
from centernet2.data.datasets.coco_summary import read_coco
from centernet2.data.datasets.custom import CUSTOM_VAL
from centernet2.data.json_file import read_json
from centernet2.engine.atomic import atomic_write
from centernet2.engine.once import once_a_machine
from centernet2.errors import UserError
from centernet2.version import __version__

__all__ = ["find_data", "is_source"]

logger = logging.getLogger(__name__)

_NAMES = {"coco": "COCO", "yolo": "YOLO", "voc": "Pascal VOC", "labelme": "LabelMe"}

Files = tuple[str, str]  # JSON file and folder of its images


def is_source(path: str) -> bool:
    """Whether an option names a data set as a whole, not a JSON file."""
    return os.path.isdir(path) or path.lower().endswith((".yaml", ".yml"))


def find_data(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Fill in the files of the data sets that ``--data`` and ``--val`` name as a whole, in place.

    What is in another format than COCO's is converted; the result is kept in OUTPUT_DIR and used
    again while the data set is as it was. Nothing is written elsewhere. A validation part of
    ``--data`` is used where there is no ``--val``.

    Args:
        cfg: not frozen.
        args: of the command line.

    Raises:
        UserError: naming what is wrong with the data, or what was looked for.
    """
    custom = cfg.DATASETS.CUSTOM
    if args.data and is_source(args.data[0]):
        parts = once_a_machine(lambda: _training_parts(cfg, args))
        custom.TRAIN_JSON, custom.TRAIN_IMAGES = parts["train"]
        if "val" in parts:
            custom.VAL_JSON, custom.VAL_IMAGES = parts["val"]
            cfg.DATASETS.TEST = (CUSTOM_VAL,)
        _tell(args.data[0], parts)
    if args.val and is_source(args.val[0]):
        parts = once_a_machine(lambda: _validation_part(cfg, args))
        custom.VAL_JSON, custom.VAL_IMAGES = parts["val"]
        _tell(args.val[0], parts)
    register_custom(cfg)


def _tell(path: str, parts: dict[str, Files]) -> None:
    for split, (json_file, images) in parts.items():
        logger.info("%s, part '%s': %s with the images in %s.", path, split, json_file, images)


def _training_parts(cfg: CfgNode, args: argparse.Namespace) -> dict[str, Files]:
    source = recognise(args.data[0])
    known = list(zip(cfg.DATASETS.CUSTOM.CLASSES, cfg.DATASETS.CUSTOM.CLASS_IDS))
    splits = ["train"] if args.val or not source.has("val") else ["train", "val"]
    return {split: _files(source, split, split, cfg.OUTPUT_DIR, known) for split in splits}


def _validation_part(cfg: CfgNode, args: argparse.Namespace) -> dict[str, Files]:
    source = recognise(args.val[0])
    custom = cfg.DATASETS.CUSTOM
    known = list(zip(custom.CLASSES, custom.CLASS_IDS))
    if not known and custom.TRAIN_JSON:
        categories = read_coco(custom.TRAIN_JSON)["categories"]
        known = [(category["name"], category["id"]) for category in categories]
    split = "val" if source.has("val") else "train"
    return {"val": _files(source, split, "val", cfg.OUTPUT_DIR, known)}


def _files(
    source: Source, split: str, role: str, output: str, known: list[tuple[str, int]]
) -> Files:
    """The files of a split, which serves as "train" or "val".

    Args:
        known: names and ids of classes that a converted data set is numbered by.
    """
    if source.kind == "coco":
        return _coco_files(source, split)
    target = Path(os.path.abspath(output), f"converted_{role}.json")
    state = _state(source, split, known)
    folder = Path(os.path.abspath(source.folder))
    if _is_kept(target, state):
        return str(target), str(folder)
    logger.info("Converting '%s' of the %s data set %s.", split, _NAMES[source.kind], source.path)
    data = source.convert(split, target.with_name(f"{target.stem}_images"))
    _renumber(data, known)
    images = one_image_folder(data, folder)
    if images == folder:  # images elsewhere are not part of the state
        data["info"] = {"state": state}
    with atomic_write(target, "w") as file:
        json.dump(data, file)
    return str(target), str(images)


def _coco_files(source: Source, split: str) -> Files:
    """The file of a split and the folder that has its images."""
    json_file = Path(os.path.abspath(source.files[split]))
    entries = read_coco(str(json_file))["images"]
    names = [entry.get("file_name") for entry in entries if isinstance(entry, dict)]
    first = next((name for name in names if isinstance(name, str)), None)
    if first is None:
        raise UserError(f"{json_file} names no images.")
    for folder in _image_folders(json_file.parent, Path(os.path.abspath(source.folder))):
        if (folder / first).is_file():
            return str(json_file), str(folder)
    raise UserError(
        f"{first}, an image of {json_file}, is in no folder of {source.folder}; name both: "
        f"{json_file} IMAGE_FOLDER."
    )


def _image_folders(*roots: Path) -> Iterator[Path]:
    """Where images may be: these folders, then all below the last."""
    yield from roots
    for folder, below, _ in os.walk(roots[-1]):
        below.sort()
        yield from (Path(folder, name) for name in below)


def _renumber(data: dict[str, Any], known: list[tuple[str, int]]) -> None:
    """Give classes the ids that they have in training, in place; unknown ones are left alone.

    VOC and LabelMe number nothing, so that ids are those of the names that one folder happens to
    have.
    """
    ids = dict(known)
    categories = data["categories"]
    if not ids or not all(category["name"] in ids for category in categories):
        return
    change = {category["id"]: ids[category["name"]] for category in categories}
    for annotation in data["annotations"]:
        annotation["category_id"] = change[annotation["category_id"]]
    data["categories"] = [{"id": number, "name": name} for name, number in known]


def _state(source: Source, split: str, known: list[tuple[str, int]]) -> str:
    """A digest of all that a conversion depends on, the files by their sizes and times."""
    digest = hashlib.sha256(repr((__version__, source, split, known)).encode())
    seen: set[str] = set()
    for folder, below, names in os.walk(source.folder, followlinks=True):
        if os.path.realpath(folder) in seen:  # links in a circle
            below.clear()
            continue
        seen.add(os.path.realpath(folder))
        below.sort()
        for name in sorted(names):
            try:
                stat = os.stat(os.path.join(folder, name))
            except OSError:  # a link to nothing
                continue
            digest.update(repr((folder, name, stat.st_size, stat.st_mtime_ns)).encode())
    return digest.hexdigest()


def _is_kept(target: Path, state: str) -> bool:
    """Whether an earlier conversion is still good."""
    try:
        return target.is_file() and read_json(target)["info"]["state"] == state
    except (UserError, TypeError, KeyError):
        return False
