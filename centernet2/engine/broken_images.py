"""Images that cannot be read: told by name, counted, and no reason to end a long run."""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from centernet2.errors import UserError

__all__ = ["BrokenImage", "BrokenImages", "map_or_broken"]

logger = logging.getLogger(__name__)

_LONGEST = 300  # characters of a reason
_NAMED = 10  # of the broken files, in the sentence at the end
# What Pillow's readers raise on damaged files, and Detectron2's mapper on one of another size
_READING = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
# What transforms raise on sizes and annotations that they cannot work with. TypeError and the like
# are left out: they speak of a mistake in a mapper.
_TRANSFORMING = (AssertionError, IndexError, MemoryError, RuntimeError)


@dataclass(frozen=True)
class BrokenImage:
    """Travels from a loading process in place of a sample: exceptions lose their text on the way.

    Attributes:
        file: its name.
        reason: of one line.
    """

    file: str
    reason: str


def map_or_broken(mapper: Callable[[dict[str, Any]], Any], record: dict[str, Any]) -> Any:
    """The mapper's result, or a :class:`BrokenImage` if the record's image cannot be used."""
    try:
        return mapper(record)
    except _READING as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return _broken(record, text or type(error).__name__)
    except _TRANSFORMING as error:
        return _broken(record, f"{type(error).__name__}: {error}")


def _broken(record: dict[str, Any], reason: str) -> BrokenImage:
    name = str(record.get("file_name", f"of id {record.get('image_id')}"))
    return BrokenImage(name, " ".join(reason.split())[:_LONGEST])


class BrokenImages:
    """The broken images that a loader met, each counted once.

    Args:
        limit: distinct files after which it is a mistake of the data; negative: none.
        consequence: what becomes of such an image, for the log.
    """

    def __init__(self, limit: int, consequence: str) -> None:
        self._limit = limit
        self._consequence = consequence
        self._found: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, image: BrokenImage) -> None:
        """Count an image and log it when it is met for the first time.

        Raises:
            UserError: if there are more than the limit.
        """
        if image.file in self._found:
            return
        self._found[image.file] = image.reason
        if 0 <= self._limit < len(self._found):
            raise UserError(
                f"{image.file} cannot be used: {image.reason}. Images like it so far: "
                f"{len(self._found)}; DATALOADER.MAX_BROKEN_IMAGES allows {self._limit}; "
                "tools/check_dataset.py lists them all."
            )
        logger.warning("%s cannot be used: %s. %s", image.file, image.reason, self._consequence)

    def report(self) -> None:
        """Log how many there were, and the names of the first."""
        if not self._found:
            return
        names = ", ".join(list(self._found)[:_NAMED])
        more = f" and {len(self._found) - _NAMED} more" if len(self._found) > _NAMED else ""
        logger.warning("Images that could not be used: %d (%s%s).", len(self._found), names, more)
