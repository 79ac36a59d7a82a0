"""Precomputed proposals (MODEL.LOAD_PROPOSALS), read without running code from their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from detectron2.config import CfgNode
from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager

from centernet2.engine.array_pickle import ForeignObject, load_arrays
from centernet2.errors import UserError

__all__ = ["add_proposals", "proposal_file"]

# The one object of Detectron2's that such files may hold
_BOX_MODE = {("detectron2.structures.boxes", "BoxMode"): BoxMode}
# Names in files of Detectron1
_FORMER = {"indexes": "ids", "scores": "objectness_logits"}


def proposal_file(cfg: CfgNode, part: str, name: str) -> str:
    """The file that a config names for a data set.

    Args:
        part: "TRAIN" or "TEST".
        name: one of DATASETS.TRAIN or DATASETS.TEST.

    Raises:
        UserError: if there is none.
    """
    files, names = cfg.DATASETS[f"PROPOSAL_FILES_{part}"], list(cfg.DATASETS[part])
    if len(files) != len(names):
        raise UserError(
            f"MODEL.LOAD_PROPOSALS needs a file for each data set: DATASETS.{part} names "
            f"{len(names)}, DATASETS.PROPOSAL_FILES_{part} {len(files)}."
        )
    return str(files[names.index(name)])


def add_proposals(records: list[dict[str, Any]], path: str) -> None:
    """Give each image its proposals of a file, best first, in place.

    The file is Detectron2's: a pickled dict of ``ids``, ``boxes`` (for each image (N, 4) numbers),
    ``objectness_logits`` ((N,) numbers) and optionally ``bbox_mode``; nothing in it is executed.

    Args:
        records: Detectron2 data set dicts with ``image_id``; they get ``proposal_boxes``,
            ``proposal_objectness_logits`` and ``proposal_bbox_mode``.
        path: of the file.

    Raises:
        UserError: if the file is absent or damaged, holds anything but arrays and plain values,
            or lacks an image.
    """
    ids, boxes, logits, mode = _content(path)
    places = {str(number): place for place, number in enumerate(ids)}
    for record in records:
        place = places.get(str(record["image_id"]))
        if place is None:
            raise UserError(
                f"{path} has no proposals for image {record['image_id']} "
                f"({record.get('file_name', 'without a file')}); make it anew for this data set."
            )
        found, scores = _of_image(path, ids[place], boxes[place], logits[place])
        order = scores.argsort()[::-1]
        record["proposal_boxes"] = found[order]
        record["proposal_objectness_logits"] = scores[order]
        record["proposal_bbox_mode"] = mode


def _content(path: str) -> tuple[Any, Any, Any, BoxMode]:
    try:
        data = Path(PathManager.get_local_path(path)).read_bytes()
    except OSError as error:
        raise UserError(
            f"The proposals {path} cannot be read ({error.strerror or error}); check "
            "DATASETS.PROPOSAL_FILES_TRAIN and PROPOSAL_FILES_TEST."
        ) from error
    try:
        loaded = load_arrays(data, _BOX_MODE)
    except ForeignObject as error:
        raise UserError(
            f"{path}: refused, because it holds Python objects other than arrays, which could run "
            f"code ({error}); save the boxes as NumPy arrays."
        ) from error
    except Exception as error:  # what a damaged pickle raises is not limited
        raise UserError(
            f"{path} cannot be read as proposals; it may be cut short or another kind of file "
            f"({type(error).__name__})."
        ) from error
    if not isinstance(loaded, dict):
        raise UserError(f"{path} holds a {type(loaded).__name__} instead of proposals by name.")
    content = {_FORMER.get(key, key): value for key, value in loaded.items()}
    parts = [content.get(key) for key in ("ids", "boxes", "objectness_logits")]
    if not all(isinstance(part, (list, tuple, np.ndarray)) for part in parts):
        raise UserError(f"{path} holds no lists 'ids', 'boxes' and 'objectness_logits'.")
    if len({len(part) for part in parts}) != 1:  # type: ignore[arg-type]
        raise UserError(f"{path}: its lists have {', '.join(str(len(p)) for p in parts)} entries.")  # type: ignore[arg-type]
    try:
        mode = BoxMode(content.get("bbox_mode", BoxMode.XYXY_ABS))
    except ValueError as error:
        raise UserError(f"{path}: bbox_mode {content['bbox_mode']!r} is unknown.") from error
    return (*parts, mode)


def _of_image(
    path: str, image_id: Any, boxes: Any, logits: Any
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    try:
        found = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
        scores = np.asarray(logits, dtype=np.float32).reshape(-1)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: the proposals of image {image_id} are not boxes.") from error
    if len(found) != len(scores):
        raise UserError(
            f"{path}: image {image_id} has {len(found)} boxes and {len(scores)} scores."
        )
    # A box that is not finite would make the loss so, hours later
    finite = np.isfinite(found).all(1) & np.isfinite(scores)
    return found[finite], scores[finite]
