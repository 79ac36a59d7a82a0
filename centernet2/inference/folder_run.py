"""A run over many images that can be stopped, resumed and shared between processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from centernet2.engine.storage import refusal_told
from centernet2.errors import UserError
from centernet2.inference.images import ImageJob, image_jobs
from centernet2.inference.merging import Written, index_records, write_coco
from centernet2.inference.predictor import Predictor
from centernet2.inference.records import RecordWriter, describe_changes, record_files
from centernet2.inference.run_description import describe_run
from centernet2.inference.shards import Shard

__all__ = ["FolderRun"]


class FolderRun:
    """What is left to do of a run, where it is noted, and what comes of it.

    Args:
        predictor: the model.
        images: distinct files, and where each is (:func:`~centernet2.inference.inputs.located`);
            the same for all processes. Names in results are relative to the folder above them all.
        output: folder of the results.
        drawings: whether drawings are made, in ``output`` too.
        shard: this process.
    """

    def __init__(
        self,
        predictor: Predictor,
        images: Sequence[tuple[Path, Path]],
        output: Path,
        drawings: bool,
        shard: Shard,
    ) -> None:
        root = os.path.commonpath({place.parent for _, place in images})
        start = len(os.path.join(root, ""))
        self._names = [place.as_posix()[start:] for _, place in images]
        paths = [path for path, _ in images]
        self._jobs = image_jobs(paths, output if drawings else None, self._names)
        self._description = describe_run(predictor, Path(root), drawings)
        self._classes = list(zip(predictor.category_ids, predictor.class_names))
        self._output = output
        self._shard = shard

    def begin(self, resume: bool) -> Sequence[ImageJob]:
        """Look at what an earlier run left.

        Args:
            resume: go on from it; processes that share the work always do. Otherwise a complete
                run is replaced.

        Returns:
            The images that this process has to look at.

        Raises:
            UserError: the earlier run was not completed, or not with this model, these options and
                these images.
        """
        with refusal_told(f"--output {self._output}"):
            self._output.mkdir(parents=True, exist_ok=True)
        files = record_files(self._output)
        if files and not resume and self._shard.alone:
            if not self._document.is_file():
                raise UserError(
                    f"{files[0]} is the record of a run that was stopped: add --resume to go on "
                    "from it, or choose another --output"
                )
            for file in files:
                file.unlink()
        changes = describe_changes(self._output, self._description)
        if changes:
            raise UserError(
                f"{changes}: choose another --output, or delete that file to start anew"
            )
        finished = index_records(self._output).finished
        todo = [job for job in self._shard.part(self._jobs) if job.name not in finished]
        if todo:  # its presence says that the run is complete
            self._document.unlink(missing_ok=True)
        return todo

    def recorder(self) -> RecordWriter:
        """The record of this process, opened."""
        categories = [number for number, _ in self._classes]
        return RecordWriter(self._output, self._description, categories, self._shard)

    def finish(self) -> Written | None:
        """Write the results if every process has come to its end.

        Returns:
            What was written; None: images of other processes are not finished.
        """
        index = index_records(self._output)
        if not index.covers(self._names):
            return None
        categories = [{"id": number, "name": name} for number, name in self._classes]
        return write_coco(index, self._names, categories, self._output)

    @property
    def _document(self) -> Path:
        return self._output / "detections.json"
