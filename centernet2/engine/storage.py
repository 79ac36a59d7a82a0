"""What to tell when a file or the folder of a run cannot be written, before and in its midst."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from centernet2.errors import UserError

__all__ = [
    "StorageError",
    "check_writable",
    "refusal_told",
    "write_failure",
    "writing_told",
]

_NO_ROOM = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
_NOT_ALLOWED = frozenset([errno.EACCES, errno.EPERM, errno.EROFS])
# A disk that fails, a share that is gone
_BROKEN = frozenset([errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV])
_MISNAMED = frozenset([errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG])


class StorageError(UserError):
    """The disk or the system refused a write in the midst of a run."""

    exit_code = 5


def check_writable(folder: str) -> None:
    """Make a folder and write a file in it, which is removed again.

    Raises:
        UserError: if the system refuses that, with its reason.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise UserError(
            f"OUTPUT_DIR {folder} cannot be written: {_reason(error, folder)}; "
            f"{_cure(error)}or name another folder with OUTPUT_DIR."
        ) from error


@contextmanager
def refusal_told(file: object, cure: str = "") -> Iterator[None]:
    """Turn the system's refusal to write one file, of a command's or a function's, into a sentence.

    Args:
        file: what is written, as the user named it.
        cure: what to do; default: nothing but the reason is told.

    Raises:
        UserError: with the file, the reason and the cure.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror or error}){cure}") from error


@contextmanager
def writing_told(folder: str, cure: str = "") -> Iterator[None]:
    """Turn the system's refusal to write below a folder into one sentence.

    Args:
        folder: OUTPUT_DIR.
        cure: how the run is repeated; default: what of a training is saved, and --resume.

    Raises:
        StorageError: with the file, the reason and the cure.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        failure = write_failure(error)
        if failure is None or not _below(failure, folder):
            raise
        file = failure.filename or f"A file in {folder}"
        raise StorageError(
            f"{file} cannot be written: {_reason(failure, folder)}. "
            f"{(_cure(failure) or 'Cure that, ').capitalize()}then {cure or _goes_on(folder)}."
        ) from error


def write_failure(error: BaseException | None) -> OSError | None:
    """The system's refusal to write among an exception and its causes; None if there is none.

    PyTorch's writer of checkpoints raises a RuntimeError while it handles that of the file.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM | _NOT_ALLOWED | _BROKEN:
            return error
        error = error.__cause__ or error.__context__
    return None


def _below(error: OSError, folder: str) -> bool:
    if not isinstance(error.filename, str):
        return True
    return os.path.abspath(error.filename).startswith(os.path.abspath(folder) + os.sep)


def _reason(error: OSError, folder: str) -> str:
    reason = error.strerror or str(error)
    if error.errno in _MISNAMED:
        return f"{reason} ({error.filename or folder})"
    if error.errno not in _NO_ROOM:
        return reason
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return reason
    return f"{reason} ({free / 2**20:,.0f} MiB are free)"


def _cure(error: OSError) -> str:
    if error.errno in _NO_ROOM:
        return "make room there, "
    if error.errno in _NOT_ALLOWED:
        return "allow writing there, "
    return ""


def _goes_on(folder: str) -> str:
    try:
        with open(os.path.join(folder, "last_checkpoint"), encoding="utf-8") as file:
            name = file.read().strip()
    except (OSError, ValueError):
        name = ""
    if name:
        return f"continue with --resume, which goes on from {name}"
    return "start anew: no checkpoint had been saved"
