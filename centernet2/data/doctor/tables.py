"""An annotation file as columns, whatever it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from centernet2.data.coco_sections import missing_sections
from centernet2.data.doctor.findings import Finding, printable, shown
from centernet2.data.json_file import read_json
from centernet2.errors import UserError

__all__ = ["MAX_ID", "Dataset", "Table", "image_file", "read_file", "split_sections"]

MAX_ID = 2**53  # float64, in which evaluators keep ids, is exact up to here


@dataclass
class Table:
    """The objects of one list.

    Attributes:
        section: name of the list.
        records: its entries that are JSON objects.
        index: (N,) position of each in the list.
        ids: (N,) int64, -1 where the id is no integer.
        id_ok: (N,) whether it is one.
    """

    section: str
    records: list[dict[str, Any]]
    index: np.ndarray
    ids: np.ndarray
    id_ok: np.ndarray

    def rows_of(self, ids: np.ndarray) -> np.ndarray:
        """(M,) ids to (M,) rows of the first records that have them, -1 where none has."""
        rows = np.flatnonzero(self.id_ok)
        known, first = np.unique(self.ids[rows], return_index=True)
        if len(known) == 0:
            return np.full(len(ids), -1)
        at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        return np.where(known[at] == ids, rows[first[at]], -1)

    def integers(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """(N,) int64 values of ``key`` (-1 where it is no integer) and (N,) whether it is one."""
        return _integers([record.get(key) for record in self.records])


class Dataset:
    """One annotation file: three tables and what the doctor found in it."""

    def __init__(self, file: str, data: dict[str, Any]) -> None:
        """
        Args:
            file: its name, for the findings.
            data: the parsed file; its three lists are there.
        """
        self.file = file
        self.data = data
        self.findings: list[Finding] = []
        self.images = self._table("images")
        self.annotations = self._table("annotations")
        self.categories = self._table("categories")
        self.image_ids, self.image_id_ok = self.annotations.integers("image_id")
        self.category_ids, self.category_id_ok = self.annotations.integers("category_id")
        self.image_rows = self._join(self.images, self.image_ids, self.image_id_ok)
        self.category_rows = self._join(self.categories, self.category_ids, self.category_id_ok)
        width, width_ok = self.images.integers("width")
        height, height_ok = self.images.integers("height")
        good = width_ok & height_ok & (width > 0) & (height > 0)
        sizes = np.where(good[:, None], np.stack([width, height], 1), np.nan).astype(np.float64)
        self.image_sizes = sizes  # (images, 2) width and height, NaN where the file tells none
        # The last row is for annotations of no image, whose row is -1.
        self.sizes = np.concatenate([sizes, np.full((1, 2), np.nan)])[self.image_rows]
        self.is_lvis = any("frequency" in record for record in self.categories.records) or any(
            "neg_category_ids" in record for record in self.images.records
        )

    def add(
        self,
        kind: str,
        table: Table,
        row: int = -1,
        detail: str = "",
        part: int | None = None,
        twin: tuple[str, str] | None = None,
    ) -> None:
        """Write down one finding, of the record in ``row`` of ``table`` or of all of it."""
        if row < 0:
            self.findings.append(Finding(kind, self.file, table.section, detail=detail))
            return
        record = table.records[row]
        image: dict[str, Any] = {}
        if table is self.images:
            image = record
        elif table is self.annotations and self.image_rows[row] >= 0:
            image = self.images.records[self.image_rows[row]]
        name = printable(image_file(image) or "")
        self.findings.append(
            Finding(
                kind,
                self.file,
                table.section,
                int(table.index[row]),
                record.get("id"),
                name,
                detail,
                part,
                twin,
            )
        )

    def _table(self, section: str) -> Table:
        entries = self.data[section]
        index = [i for i, entry in enumerate(entries) if isinstance(entry, dict)]
        if len(index) < len(entries):
            for i in sorted(set(range(len(entries))) - set(index)):
                detail = f"it is {shown(entries[i])}"
                self.findings.append(
                    Finding("record-not-object", self.file, section, i, detail=detail)
                )
        records = [entries[i] for i in index]
        ids, id_ok = _integers([record.get("id") for record in records])
        return Table(section, records, np.array(index, np.int64), ids, id_ok)

    @staticmethod
    def _join(table: Table, ids: np.ndarray, ok: np.ndarray) -> np.ndarray:
        return np.where(ok, table.rows_of(ids), -1)


def read_file(path: Path) -> tuple[Any, str]:
    """Read a JSON file.

    Returns:
        the value, and why it could not be parsed (empty where it could).

    Raises:
        UserError: no such file, or no right to read it.
    """
    try:
        return read_json(path), ""
    except UserError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return None, printable(error.__cause__)


def split_sections(data: Any) -> str:
    """Why ``data`` is not in COCO's format; empty where it is."""
    if not isinstance(data, dict):
        return f"the file holds a {type(data).__name__} instead of an object"
    missing = missing_sections(data)
    return f"no list {', '.join(missing)}" if missing else ""


def image_file(image: dict[str, Any]) -> str | None:
    """Path of an image below the folder of images: ``file_name``, else the end of ``coco_url``.

    LVIS names its files by URL; folder and name are then the URL's last two parts.
    """
    name = image.get("file_name")
    if isinstance(name, str):
        return name or None
    url = image.get("coco_url")
    if isinstance(url, str) and url.count("/") >= 2:
        return "/".join(url.split("/")[-2:])
    return None


def _integers(values: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    ok = np.fromiter(
        (type(v) is int and -MAX_ID < v < MAX_ID for v in values), np.bool_, len(values)
    )
    numbers = (v if good else -1 for v, good in zip(values, ok))
    return np.fromiter(numbers, np.int64, len(values)), ok
