"""Where results go besides the files of drawings."""

from __future__ import annotations

import dataclasses

from centernet2.inference.records import RecordWriter
from centernet2.inference.results import ResultsWriter
from centernet2.inference.window import Window

__all__ = ["NOTHING", "Sinks"]


@dataclasses.dataclass(frozen=True)
class Sinks:
    """A JSON file, a window, and a record to resume from; each may be absent."""

    results: ResultsWriter | None = None
    window: Window | None = None
    record: RecordWriter | None = None


NOTHING = Sinks()
