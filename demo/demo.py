#!/usr/bin/env python
"""Draw the objects that a model finds on images, a video or a camera. See demo/README.md."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from centernet2.cli.arguments import positive, probability
from centernet2.cli.ending import exit_status, warn_of
from centernet2.errors import UserError
from centernet2.inference.detector import load_predictor
from centernet2.inference.excerpt import WHOLE, Excerpt, seconds_of
from centernet2.inference.images import detect_images, image_jobs
from centernet2.inference.inputs import find_images
from centernet2.inference.predictor import Predictor
from centernet2.inference.results import ResultsWriter
from centernet2.inference.sinks import Sinks
from centernet2.inference.streams import detect_camera, detect_video
from centernet2.inference.tracking import LOWEST_SCORE, Tracker
from centernet2.inference.window import Window
from centernet2.inference.zoo import DEFAULT_MODEL, shipped_models


def get_parser() -> argparse.ArgumentParser:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description="Draw the objects that a model finds on images, a video or a camera.",
        epilog="Examples: demo.py --input street.jpg photos/ --output out/   "
        "demo.py --video-input in.mp4 --output out.mp4",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--input", nargs="+", metavar="PATH", help="images, folders of images, patterns ('a*.jpg')"
    )
    source.add_argument("--video-input", type=Path, metavar="FILE", help="a video")
    source.add_argument(
        "--webcam", nargs="?", type=int, const=0, metavar="INDEX", help="a camera (default: 0)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="folder or file for the drawings; without it, a window shows them",
    )
    parser.add_argument(
        "--save-json", type=Path, metavar="FILE", help="write the detections as COCO results"
    )
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help=f"a shipped model: {', '.join(shipped_models())} (default: %(default)s)",
    )
    parser.add_argument(
        "--config-file", metavar="FILE", help="a configuration instead of a shipped model"
    )
    parser.add_argument(
        "--confidence-threshold",
        type=probability,
        default=0.5,
        metavar="SCORE",
        help="least score of a detection, 0 to 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="images given to the model at a time (default: 1 on the CPU, 8 on a GPU)",
    )
    parser.add_argument(
        "--track",
        action="store_true",
        help="of videos and cameras: follow objects, count them, draw their ids and ways",
    )
    parser.add_argument(
        "--count-line",
        type=line,
        metavar="X0,Y0,X1,Y1",
        help="with --track: count the objects that cross this line (pixels)",
    )
    video = parser.add_argument_group("of --video-input")
    video.add_argument(
        "--start",
        type=moment,
        metavar="TIME",
        help="leave out what comes before; seconds or h:mm:ss",
    )
    video.add_argument(
        "--end", type=moment, metavar="TIME", help="leave out what comes from then on"
    )
    video.add_argument(
        "--every", type=positive, metavar="N", help="take the first frame, then every N-th"
    )
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="changes to the configuration, such as MODEL.WEIGHTS model.pth MODEL.DEVICE cpu",
    )
    return parser


def moment(text: str) -> Fraction:
    """A time, for options."""
    try:
        return seconds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def line(text: str) -> tuple[float, float, float, float]:
    """Two points, for options."""
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text} is no line: give four numbers x0,y0,x1,y1"
        ) from error
    return x0, y0, x1, y1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        Exit status: 0; 1 when some input could not be used; 2 when nothing could be done.
    """
    args = get_parser().parse_args(arguments)

    def work() -> int:
        problems = run(args)
        warn_of(problems)
        return 1 if problems else 0

    return exit_status(work, "stopped; what was finished is saved")


def run(args: argparse.Namespace) -> list[str]:
    """Do what the options say.

    Args:
        args: of :func:`get_parser`.

    Returns:
        One sentence for each input that could not be used.

    Raises:
        UserError: nothing could be done.
    """
    with contextlib.ExitStack() as stack:
        window = None
        if args.output is None and args.save_json is None:
            window = stack.enter_context(Window("CenterNet2"))
        problems: list[str] = []
        if args.input is not None:
            found = find_images(args.input)
            images, problems = found.images, found.problems
            if not images:
                raise UserError("; ".join(problems))
        elif args.video_input is not None and not args.video_input.is_file():
            raise UserError(f"--video-input {args.video_input}: no such file")
        excerpt, tracker = chosen_excerpt(args), chosen_tracker(args)
        predictor = build_predictor(args)
        results = None
        if args.save_json is not None:
            results = stack.enter_context(ResultsWriter(args.save_json, predictor.category_ids))
        sinks = Sinks(results, window)
        batch_size = args.batch_size or predictor.usual_batch_size
        if args.input is not None:
            return problems + detect_images(
                predictor, image_jobs(images, args.output), sinks, batch_size
            )
        if args.video_input is not None:
            problems = detect_video(
                predictor, args.video_input, args.output, sinks, batch_size, excerpt, tracker
            )
        else:
            problems = detect_camera(
                predictor, args.webcam, args.output, sinks, batch_size, tracker
            )
        if tracker is not None:
            print(tracker.summary(predictor.class_names))
        return problems


def chosen_excerpt(args: argparse.Namespace) -> Excerpt:
    """The frames that --start, --end and --every choose; refuses them where there is no video."""
    chosen = {"start": args.start, "end": args.end, "every": args.every}
    given = {name: value for name, value in chosen.items() if value is not None}
    if given and args.video_input is None:
        raise UserError(f"--{next(iter(given))} is for --video-input: leave it out")
    return dataclasses.replace(WHOLE, **given)


def chosen_tracker(args: argparse.Namespace) -> Tracker | None:
    """What follows objects, if --track asks for it."""
    if args.track and args.input is not None:
        raise UserError("--track is for --video-input and --webcam: leave it out")
    if args.count_line is not None and not args.track:
        raise UserError("--count-line needs --track: add it")
    return Tracker(args.confidence_threshold, args.count_line) if args.track else None


def build_predictor(args: argparse.Namespace) -> Predictor:
    """Load the model that the options name."""
    threshold = args.confidence_threshold
    if args.track:
        threshold = min(threshold, LOWEST_SCORE)
    return load_predictor(args.config_file or args.model, score_thresh=threshold, opts=args.opts)


if __name__ == "__main__":
    sys.exit(main())
