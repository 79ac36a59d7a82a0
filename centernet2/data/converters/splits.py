"""Splits of a data set that are sub-folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from centernet2.errors import UserError

__all__ = ["files_of_split", "has_split"]

_FOLDERS = {"val": ("val", "valid", "validation")}


def has_split(root: Path, split: str) -> bool:
    """Whether a data set has a sub-folder for a split."""
    return any(folder.is_dir() for folder in _folders(root, split))


def files_of_split(root: Path, split: str, files: Iterable[Path]) -> list[Path]:
    """Those of the files that belong to a split.

    Args:
        root: folder of the data set.
        split: name of the sub-folder that has them. Where there is none, "train" stands for all
            files that are not in the sub-folders of the validation and test data.
        files: below ``root``.

    Raises:
        UserError: there are none.
    """
    folders = _folders(root, split)
    if has_split(root, split):
        found = [path for path in files if _is_below(path, folders)]
    elif split == "train":
        others = [*_folders(root, "val"), *_folders(root, "test")]
        found = [path for path in files if not _is_below(path, others)]
    else:
        raise UserError(f"There is no folder {folders[0]} with the files of '{split}'.")
    if not found:
        raise UserError(f"{root} has no annotation files in '{split}'.")
    return found


def _folders(root: Path, split: str) -> list[Path]:
    return [root / name for name in _FOLDERS.get(split, (split,))]


def _is_below(path: Path, folders: list[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
