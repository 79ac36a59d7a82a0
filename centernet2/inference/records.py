"""A record of what is done: one JSON line for each image, which a run goes on from after a stop.

The first line describes the run; the others have an image's ``file_name`` and either ``width``,
``height`` and ``detections``, or the ``error`` that kept it from being used. Each of several
processes appends to a file of its own; all read those of the others. A line that was cut off is as
if it had never been there, so a run may be killed at any time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from detectron2.structures import Instances

from centernet2.engine.storage import refusal_told
from centernet2.inference.results import coco_results
from centernet2.inference.shards import Shard

__all__ = ["RecordWriter", "describe_changes", "read_record", "record_files", "scan_records"]

_HEADER = "run"


def record_files(folder: Path) -> list[Path]:
    """The record files in a folder, of all processes, sorted."""
    return sorted(folder.glob("detections*.jsonl"))


def _own_file(folder: Path, shard: Shard) -> Path:
    name = "detections.jsonl"
    if not shard.alone:
        name = f"detections.{shard.rank}-of-{shard.world}.jsonl"
    return folder / name


def scan_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the offset and the content of each whole line of a record file, the first included."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                try:
                    content = json.loads(line)
                except ValueError:  # a disk that was full, a machine that lost power
                    content = None
                if isinstance(content, dict):
                    yield offset, content
            offset += len(line)


def read_record(file: IO[bytes], offset: int) -> dict[str, Any]:
    """The line that :func:`scan_records` found at an offset of an open file."""
    file.seek(offset)
    record: dict[str, Any] = json.loads(file.readline())
    return record


def describe_changes(folder: Path, run: dict[str, Any]) -> str:
    """How the runs recorded in a folder differ from this one; "" if they do not."""
    for path in record_files(folder):
        for _, content in scan_records(path):
            before = content.get(_HEADER)
            if before is None:
                break
            changed = [key for key in run if before.get(key) != run[key]]
            if changed:
                key = changed[0]
                return f"{path} was made with {key} {before.get(key)!r}, not {run[key]!r}"
            break
    return ""


class RecordWriter:
    """Appends to the record file of this process; a context manager.

    Args:
        folder: of the record files.
        run: what the results depend on; the file's first line.
        categories: id of each class in COCO results.
        shard: this process.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(
        self, folder: Path, run: dict[str, Any], categories: Sequence[int], shard: Shard
    ) -> None:
        self.path = _own_file(folder, shard)
        self._categories = categories
        with refusal_told(self.path):
            self._file = self.path.open("ab+")
            _cut_torn_line(self._file)
        if self._file.tell() == 0:
            self._append({_HEADER: run})

    def finished(self, name: str, found: Instances) -> None:
        """Note what was found on an image.

        Args:
            name: of the image.
            found: on the CPU, as a Detectron2 model returns them.

        Raises:
            UserError: the line cannot be written.
        """
        entries = coco_results(found, 0, self._categories)
        for entry in entries:
            del entry["image_id"]  # known once all images are
        height, width = found.image_size
        self._append({"file_name": name, "width": width, "height": height, "detections": entries})

    def failed(self, name: str, problem: str) -> None:
        """Note that an image could not be used, and why; a resumed run tries it again."""
        self._append({"file_name": name, "error": problem})

    def _append(self, content: dict[str, Any]) -> None:
        with refusal_told(self.path):
            self._file.write(json.dumps(content).encode() + b"\n")
            self._file.flush()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def _cut_torn_line(file: IO[bytes]) -> None:
    """Remove what stands behind the last line break, and go there."""
    end = file.seek(0, 2)
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        cut = file.read(end - start).rfind(b"\n")
        if cut >= 0:
            end = start + cut + 1
            break
        end = start
    file.truncate(end)
    file.seek(end)
