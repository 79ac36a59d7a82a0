"""Which frames of a video are looked at."""

from __future__ import annotations

import dataclasses
import math
import re
from fractions import Fraction

from centernet2.errors import UserError

__all__ = ["WHOLE", "Excerpt", "seconds_of"]

_NUMBER = r"\d+(?:\.\d*)?|\.\d+"


@dataclasses.dataclass(frozen=True)
class Excerpt:
    """A stretch of a video, and how dense it is taken.

    Attributes:
        start: seconds; frames that are shown earlier are left out.
        end: seconds; frames that are shown then or later are left out. None: the video's end.
        every: 1 for each frame of the stretch, 2 for the first, third, fifth...

    Raises:
        UserError: there can be no such frames.
    """

    start: Fraction = Fraction(0)
    end: Fraction | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if self.start < 0:
            raise UserError(f"a video cannot be read from {float(self.start):g} s: take 0 or more")
        if self.end is not None and self.end <= self.start:
            raise UserError(
                f"nothing lies between {float(self.start):g} s and {float(self.end):g} s of a "
                "video: the end must come after the start"
            )
        if self.every < 1:
            raise UserError(f"every frame number {self.every} cannot be taken: it is 1 or more")

    def number_of_frames(self, duration: Fraction | None, rate: Fraction) -> int | None:
        """How many frames there are about, of a video of this length (s) and rate (1/s)."""
        ends = [time for time in (self.end, duration) if time is not None]
        if not ends:
            return None
        return math.ceil(max(0, round((min(ends) - self.start) * rate)) / self.every)


WHOLE = Excerpt()


def seconds_of(text: str) -> Fraction:
    """Read a time.

    Args:
        text: seconds ("90", "1.5"), or minutes or hours too ("1:30", "0:01:30.5").

    Returns:
        Seconds.

    Raises:
        ValueError: it is none; says what one looks like.
    """
    match = re.fullmatch(rf"(?:(?:(\d+):)?(\d+):)?({_NUMBER})", text.strip())
    if match is None:
        raise ValueError(f"{text} is no time: take seconds (90, 1.5) or h:mm:ss (0:01:30)")
    hours, minutes, seconds = (Fraction(part or 0) for part in match.groups())
    if match[2] and (seconds >= 60 or (match[1] and minutes >= 60)):
        raise ValueError(f"{text} is no time: minutes and seconds after a colon go up to 59")
    return 3600 * hours + 60 * minutes + seconds
