"""Which checkpoint a resumed run goes on from: the last, or the newest before it that is whole."""

from __future__ import annotations

import logging
import os
import re

from centernet2.engine.checkpoint import CannotResumeError, Checkpointer

__all__ = ["load_newest", "resumable_files"]

logger = logging.getLogger(__name__)

_PERIODIC = re.compile(r"model_(\d{7,})\.pth")


def resumable_files(folder: str, last: str) -> list[str]:
    """Names of the checkpoints that a run can go on from, in the order to try them.

    The first is ``last``, whether it is there or not, unless it is ""; then come those that a
    training saves on its way and that are older by their numbers, never by the clock.
    """
    names = os.listdir(folder) if os.path.isdir(folder) else []
    periodic = {name: int(m[1]) for name in names if (m := _PERIODIC.fullmatch(name))}
    found = _PERIODIC.fullmatch(last)
    limit = int(found[1]) if found else None
    older = [name for name in periodic if limit is None or periodic[name] < limit]
    rest = sorted(older, key=lambda name: periodic[name], reverse=True)
    if not last and "model_final.pth" in names:
        rest.insert(0, "model_final.pth")
    return ([last] if last else []) + rest


def load_newest(checkpointer: Checkpointer) -> bool:
    """Load the whole state from the newest checkpoint of the folder that can be read.

    What could not be read is told in the log, with the checkpoint that is taken instead.

    Returns:
        Whether there was a checkpoint.

    Raises:
        UserError: if there are checkpoints but none can be resumed; of the newest.
    """
    folder = checkpointer.save_dir
    last = os.path.basename(checkpointer.get_checkpoint_file())
    first: CannotResumeError | None = None
    for name in resumable_files(folder, last):
        try:
            checkpointer.load(os.path.join(folder, name))
        except CannotResumeError as error:
            first = first or error
            logger.warning("%s", error)
            continue
        if name != last:
            tag = os.path.join(folder, "last_checkpoint")
            logger.warning("%s names %s: going on from %s.", tag, last or "no file", name)
        return True
    if first is not None:
        raise CannotResumeError(
            f"{first} No other checkpoint of {folder} can be resumed either: leave --resume out "
            "to start anew."
        ) from first
    return False
