"""Detections written to the disk as they come, by every process, and joined at the end."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import detectron2.utils.comm as comm

__all__ = ["ResultsWriter"]


class ResultsWriter:
    """Collects COCO results of all processes in one file, holding none of them in memory.

    A process appends to a part file beside the final one, ``<name>.part-<host>-<rank>``: a line for
    each image. :meth:`join` writes the final file and removes the parts.

    Args:
        path: the final file, a JSON list of detections.
        distributed: whether all processes of the run write; otherwise this one alone.
    """

    def __init__(self, path: Path, distributed: bool = True) -> None:
        self.path = path
        self._distributed = distributed
        rank = comm.get_rank() if distributed else 0
        self._part = path.with_name(f"{path.name}.part-{socket.gethostname()}-{rank}")
        self._file: TextIO | None = None

    def reset(self) -> None:
        """Begin again, without what was added so far or left by a run that was killed."""
        self.close()
        self._part.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._part, "w", encoding="utf-8")  # noqa: SIM115

    def add(self, image_id: int, detections: list[dict[str, Any]]) -> None:
        """Write an image's detections, an empty list too.

        Raises:
            RuntimeError: before :meth:`reset`.
        """
        if self._file is None:
            raise RuntimeError("Call reset() before the first image.")
        self._file.write(json.dumps([image_id, detections]) + "\n")

    def close(self) -> None:
        """Close the part file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def join(self) -> int:
        """Write the final file in the main process; call it in every process.

        An image that several processes saw (samplers pad to equal shares) counts once: the first
        process's.

        Returns:
            The number of images, in the main process; 0 in the others.
        """
        self.close()
        parts = comm.gather(str(self._part)) if self._distributed else [str(self._part)]
        main = not self._distributed or comm.is_main_process()
        sent: list[Any] = [None] * len(parts)
        if self._distributed:
            # Machines that share no disk with the main process send their parts
            hidden = comm.all_gather([p for p in parts if not os.path.exists(p)] if main else [])[0]
            mine = str(self._part) in hidden
            sent = comm.gather(self._part.read_text(encoding="utf-8") if mine else None)
        images = self._write(parts, sent) if main else 0
        if self._distributed:
            comm.synchronize()
        with contextlib.suppress(FileNotFoundError):
            self._part.unlink()
        return images

    def _write(self, parts: list[str], sent: list[Any]) -> int:
        seen: set[int] = set()
        incomplete = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        with open(incomplete, "w", encoding="utf-8") as file:
            file.write("[")
            separator = "\n"
            for line in _lines(parts, sent):
                image_id, detections = json.loads(line)
                if image_id in seen:
                    continue
                seen.add(image_id)
                for detection in detections:
                    file.write(separator + json.dumps(detection))
                    separator = ",\n"
            file.write("\n]\n")
        os.replace(incomplete, self.path)
        return len(seen)


def _lines(parts: list[str], sent: list[Any]) -> Iterator[str]:
    for part, text in zip(parts, sent):
        if text is not None:
            yield from text.splitlines()
        else:
            with open(part, encoding="utf-8") as file:
                yield from file
