"""Checks of ids, references, names and sizes in the JSON."""

from __future__ import annotations

import unicodedata

import numpy as np

from centernet2.data.doctor.findings import printable, shown
from centernet2.data.doctor.tables import MAX_ID, Dataset, Table, image_file

__all__ = ["check_balance", "check_ids", "check_names"]

IMBALANCE = 100


def check_ids(data: Dataset) -> None:
    """Ids that are missing, odd or doubled, and references that lead nowhere."""
    for table in (data.images, data.annotations, data.categories):
        _odd_ids(data, table, "id", table.id_ok)
        _duplicates(data, table)
    annotations = data.annotations
    for row in np.flatnonzero(annotations.id_ok & (annotations.ids == 0)):
        data.add("annotation-id-zero", annotations, int(row))
    for key, ok, values, rows, kind in (
        ("image_id", data.image_id_ok, data.image_ids, data.image_rows, "unknown-image"),
        (
            "category_id",
            data.category_id_ok,
            data.category_ids,
            data.category_rows,
            "unknown-category",
        ),
    ):
        _odd_ids(data, annotations, key, ok)
        for row in np.flatnonzero(ok & (rows < 0)):
            data.add(kind, annotations, int(row), f"{key} {values[row]}")


def check_names(data: Dataset) -> None:
    """File names, sizes of images and names of categories."""
    images, categories = data.images, data.categories
    files = [image_file(record) for record in images.records]
    for row, file in enumerate(files):
        if file is None:
            value = images.records[row].get("file_name")
            data.add("file-name-bad", images, row, f"file_name {shown(value)}")
        elif _is_broken(file):
            data.add("text-broken", images, row, f"file_name {printable(file)}")
    for row, first in _repeats(files):
        data.add("duplicate-file-name", images, row, f"as images[{images.index[first]}]")
    for unsized in np.flatnonzero(np.isnan(data.image_sizes[:, 0])):
        record = images.records[unsized]
        sides = [shown(record.get(key)) for key in ("width", "height")]
        data.add("image-size-bad", images, int(unsized), f"width {sides[0]}, height {sides[1]}")
    names = [record.get("name") for record in categories.records]
    for row, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            data.add("category-name-bad", categories, row, f"name {shown(name)}")
        elif _is_broken(name):
            data.add("text-broken", categories, row, f"name {printable(name)}")
    for row, first in _repeats([n if isinstance(n, str) and n.strip() else None for n in names]):
        data.add(
            "duplicate-category-name",
            categories,
            row,
            f"{printable(names[row])}, as categories[{categories.index[first]}]",
        )


def check_balance(data: Dataset) -> None:
    """Images and categories without annotations, gaps in ids, rare categories."""
    used = np.bincount(data.image_rows[data.image_rows >= 0], minlength=len(data.images.records))
    first = data.images.rows_of(data.images.ids) == np.arange(len(used))
    for row in np.flatnonzero((used == 0) & data.images.id_ok & first):
        data.add("image-without-annotations", data.images, int(row))
    categories = data.categories
    ids = np.unique(categories.ids[categories.id_ok])
    if len(ids) and (ids[0] != 1 or ids[-1] != len(ids)):
        detail = f"{len(ids)} categories with ids from {ids[0]} to {ids[-1]}"
        data.add("category-gap", categories, detail=detail)
    rows = data.category_rows[data.category_rows >= 0]
    counts = np.bincount(rows, minlength=len(categories.records))
    first = categories.rows_of(categories.ids) == np.arange(len(counts))
    for row in np.flatnonzero((counts == 0) & categories.id_ok & first):
        name = printable(categories.records[row].get("name"))
        data.add("category-unused", categories, int(row), name)
    present = np.flatnonzero(counts)
    if len(present) and counts.max() > IMBALANCE * counts[present].min():
        most, least = int(counts.argmax()), int(present[counts[present].argmin()])
        detail = ", ".join(
            f"{printable(categories.records[row].get('name'))} has {counts[row]} annotations"
            for row in (most, least)
        )
        data.add("class-imbalance", categories, detail=detail)


def _odd_ids(data: Dataset, table: Table, key: str, ok: np.ndarray) -> None:
    for row in np.flatnonzero(~ok):
        value = table.records[row].get(key)
        if value is None:
            kind = "id-missing"
        elif type(value) is int and abs(value) >= MAX_ID:
            kind = "id-huge"
        else:
            kind = "id-not-integer"
        data.add(kind, table, int(row), f"{key} {shown(value)}")


def _duplicates(data: Dataset, table: Table) -> None:
    rows = np.flatnonzero(table.id_ok)
    first = table.rows_of(table.ids)
    kind = {
        "images": "duplicate-image-id",
        "annotations": "duplicate-annotation-id",
        "categories": "duplicate-category-id",
    }[table.section]
    for row in rows[first[rows] != rows]:
        detail = f"id {table.ids[row]}, as {table.section}[{table.index[first[row]]}]"
        data.add(kind, table, int(row), detail)


def _repeats(values: list[str | None]) -> list[tuple[int, int]]:
    """(row, row of the first that is equal) of each value that was there before."""
    first: dict[str, int] = {}
    pairs = []
    for row, value in enumerate(values):
        if value is not None and first.setdefault(value, row) != row:
            pairs.append((row, first[value]))
    return pairs


def _is_broken(text: str) -> bool:
    # Cc: control characters; Cs: halves of a surrogate pair; U+FFFD: a byte that was no UTF-8
    return any(c == "\ufffd" or unicodedata.category(c) in ("Cc", "Cs") for c in text)
