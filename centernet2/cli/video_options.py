"""Options of videos: which frames are looked at, whether objects are followed and counted."""

from __future__ import annotations

import argparse
import dataclasses
from fractions import Fraction

from centernet2.cli.arguments import positive
from centernet2.errors import UserError
from centernet2.inference.excerpt import WHOLE, Excerpt, seconds_of
from centernet2.inference.tracking import LOWEST_SCORE, Tracker

__all__ = ["add_video_options", "chosen_excerpt", "chosen_tracker", "least_score"]


def add_video_options(parser: argparse.ArgumentParser, videos: str, streams: str) -> None:
    """Add the options.

    Args:
        parser: of the command.
        videos: what gives video files, for the help.
        streams: what gives frames that objects can be followed through.
    """
    followed = parser.add_argument_group(f"of {streams}")
    followed.add_argument(
        "--track",
        action="store_true",
        help="follow objects, count them, draw their ids and ways",
    )
    followed.add_argument(
        "--count-line",
        type=_line,
        metavar="X0,Y0,X1,Y1",
        help="with --track: count the objects that cross this line (pixels)",
    )
    stretch = parser.add_argument_group(f"of {videos}")
    stretch.add_argument(
        "--start",
        type=_moment,
        metavar="TIME",
        help="leave out what comes before; seconds or h:mm:ss",
    )
    stretch.add_argument(
        "--end", type=_moment, metavar="TIME", help="leave out what comes from then on"
    )
    stretch.add_argument(
        "--every", type=positive, metavar="N", help="take the first frame, then every N-th"
    )


def chosen_excerpt(args: argparse.Namespace, allowed: bool, videos: str) -> Excerpt:
    """The frames that --start, --end and --every choose.

    Args:
        args: of :func:`add_video_options`.
        allowed: whether there is a video.
        videos: see :func:`add_video_options`.

    Raises:
        UserError: one of them is given without a video, or they leave no frame.
    """
    chosen = {"start": args.start, "end": args.end, "every": args.every}
    given = {name: value for name, value in chosen.items() if value is not None}
    if given and not allowed:
        raise UserError(f"--{next(iter(given))} is for {videos}: leave it out")
    return dataclasses.replace(WHOLE, **given)


def chosen_tracker(
    args: argparse.Namespace, threshold: float, allowed: bool, streams: str
) -> Tracker | None:
    """What follows the objects of one video, if --track asks for it.

    Args:
        args: of :func:`add_video_options`.
        threshold: least score of a detection.
        allowed: whether all input can be followed through.
        streams: see :func:`add_video_options`.

    Raises:
        UserError: there is nothing to follow, or the package that does it is not installed.
    """
    if args.track and not allowed:
        raise UserError(f"--track is for {streams}: leave it out")
    if args.count_line is not None and not args.track:
        raise UserError("--count-line needs --track: add it")
    return Tracker(threshold, args.count_line) if args.track else None


def least_score(args: argparse.Namespace, threshold: float) -> float:
    """Least score that the model has to give: objects are followed with lower ones too."""
    return min(threshold, LOWEST_SCORE) if args.track else threshold


def _moment(text: str) -> Fraction:
    try:
        return seconds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _line(text: str) -> tuple[float, float, float, float]:
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text} is no line: give four numbers x0,y0,x1,y1"
        ) from error
    return x0, y0, x1, y1
