"""One training at a time in a folder: two would overwrite each other's checkpoints.

The lock is the system's, on an open file: it ends with the process, however that ends, and is not
inherited by loading processes that outlive it for a moment.
"""

from __future__ import annotations

import datetime
import errno
import logging
import os
import socket
from typing import IO

from centernet2.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["claim_folder", "release_folder"]

logger = logging.getLogger(__name__)

_FILE = ".running"
# By folder: the process, as a fork inherits the dict but no lock, and the open file
_held: dict[str, tuple[int, IO[str]]] = {}


def claim_folder(folder: str) -> None:
    """Keep other trainings out of a folder until :func:`release_folder` or this process's end.

    A folder that this process holds already stays held. Where the file system has no locks, a
    warning says so.

    Raises:
        UserError: if another process trains there; names it.
    """
    key = os.path.realpath(folder)
    if fcntl is None or _held.get(key, (0,))[0] == os.getpid():
        return
    os.makedirs(folder, exist_ok=True)
    file = open(os.path.join(folder, _FILE), "a+", encoding="utf-8", errors="replace")  # noqa: SIM115
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read(200).strip() or "another process"
        file.close()
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise UserError(
                f"OUTPUT_DIR {folder} is in use: {holder} trains there. Name another folder with "
                "OUTPUT_DIR, or end that run first."
            ) from error
        logger.warning(
            "%s cannot be locked (%s): take care that no other run is started in it.",
            folder,
            error.strerror,
        )
        return
    file.truncate(0)
    now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    file.write(f"process {os.getpid()} on {socket.gethostname()}, begun {now},")
    file.flush()
    _held[key] = os.getpid(), file


def release_folder(folder: str) -> None:
    """Let others train in a folder; nothing happens if this process does not hold it."""
    held = _held.pop(os.path.realpath(folder), None)
    if held is not None:
        held[1].close()  # which ends the lock
