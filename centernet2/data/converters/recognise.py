"""Which format a folder is in, and which splits it has."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from centernet2.data.coco_sections import missing_sections
from centernet2.data.converters.labelme import convert_labelme, is_labelme
from centernet2.data.converters.splits import has_split
from centernet2.data.converters.voc import LISTS, convert_voc
from centernet2.data.converters.yolo import convert_yolo, read_description
from centernet2.data.json_file import read_json
from centernet2.errors import UserError

__all__ = ["Source", "recognise"]

_YAML = (".yaml", ".yml")
_SPLIT = re.compile(r"(?<![a-z])(train|val|test)")


@dataclass(frozen=True)
class Source:
    """A data set on the disk.

    Attributes:
        kind: "coco", "yolo", "voc" or "labelme".
        path: its folder; of YOLO's, its description.
        files: JSON file of each split, if it is in COCO's format.
    """

    kind: str
    path: Path
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder that the names of its images are relative to."""
        return self.path.parent if self.kind == "yolo" else self.path

    def has(self, split: str) -> bool:
        """Whether it has a split of this name of its own."""
        if self.kind == "coco":
            return split in self.files
        if self.kind == "yolo":
            return bool(read_description(self.path).get(split))
        if self.kind == "voc" and (self.path / LISTS).is_dir():
            return (self.path / LISTS / f"{split}.txt").is_file()
        return has_split(self.path, split)

    def convert(self, split: str, embedded: Path) -> dict[str, Any]:
        """A split in COCO's format; file names are relative to the folder.

        Args:
            split: "train", "val" or "test".
            embedded: folder for images that are only inside of annotation files.

        Raises:
            UserError: naming what is wrong, or that it is in COCO's format.
        """
        if self.kind == "yolo":
            return convert_yolo(self.path, split)
        if self.kind == "voc":
            return convert_voc(self.path, split)
        if self.kind == "labelme":
            return convert_labelme(self.path, split, embedded)
        raise UserError(f"{self.path} is in COCO's format already.")


def recognise(path: str | os.PathLike[str]) -> Source:
    """Find out the format of a data set.

    Args:
        path: a folder, or YOLO's description (``.yaml``).

    Raises:
        UserError: telling what was looked for.
    """
    place = Path(path)
    if place.suffix.lower() in _YAML and place.is_file():
        return Source("yolo", place)
    if not place.is_dir():
        raise UserError(f"There is no folder {place}.")
    description = _description(place)
    if description is not None:
        return Source("yolo", description)
    if any(place.rglob("*.xml")):
        return Source("voc", place)
    broken: UserError | None = None
    files = sorted(place.rglob("*.json"), key=lambda file: (file.stat().st_size, file))
    for file in files:  # small ones first: one is enough to tell
        try:
            data = read_json(file)
        except UserError as error:
            broken = broken or error
            continue
        if is_labelme(data):
            return Source("labelme", place)
        if not missing_sections(data):
            return Source("coco", place, _coco_files(place, files))
    if broken is not None:
        raise broken
    raise UserError(
        f"{place} holds no data set: there is no data.yaml (YOLO), no XML file (Pascal VOC), and "
        "no JSON file in COCO's format or of LabelMe."
    )


def _description(folder: Path) -> Path | None:
    if (folder / "data.yaml").is_file():
        return folder / "data.yaml"
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in _YAML and p.is_file()):
        try:
            if {"names", "train"} <= set(read_description(path)):
                return path
        except UserError:  # some other file, which is none of our business
            continue
    return None


def _coco_files(folder: Path, files: list[Path]) -> dict[str, Path]:
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(_split_of(file.relative_to(folder)), []).append(file)
    found: dict[str, Path] = {}
    for split, names in splits.items():
        # COCO's own folder also has captions, keypoints and more of each split
        best = [name for name in names if name.stem.startswith("instances")] or names
        if len(best) > 1:
            listed = ", ".join(sorted(str(name) for name in best))
            raise UserError(
                f"{folder} has several JSON files for '{split}' ({listed}); name the one that you "
                "want and its folder of images."
            )
        found[split] = best[0]
    if "train" not in found:
        raise UserError(
            f"{folder} has no JSON file with 'train' in its name or in its folder's; name the file "
            "that you want and its folder of images."
        )
    return found


def _split_of(file: Path) -> str:
    for name in (file.stem, file.parent.name):
        found = _SPLIT.search(name.lower())
        if found:
            return found.group()
    return "train"
